"""Machines that run our programs: shared by the scenarios.

    disk0   EROFS, read-only: the distribution's Python and libraries, and Verglas, on /usr and /opt
    disk1   ext4: /nix, with a store that this file fills by running our own programs on the host
    memory  everything else

The initial RAM disk mounts them, starts the driver's agent, has `verglas mount` bring up /nix/store from disk1, shows a
boot menu if there are several generations, and hands over to the system that was chosen.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from vmdriver.errors import VmTestError
from vmdriver.image import find_busybox, find_kernel, make_disk, make_erofs, make_initrd, uncompressed_kernel
from vmdriver.qemu import Disk, Hardware

ROOT = Path(__file__).parents[1]
BIN = Path(os.environ.get("VERGLAS_BIN", ROOT / ".venv/bin"))
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "verglas-vm-tests"
MODULES = (
    "crc32c_generic",  # what libcrc32c asks for by a name that modules.dep does not have
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "fuse",
    "ext4",
    "erofs",
)
PACKAGES = ("storefs", "builder", "evaluator", "profiles")
LAUNCHER = "#!/usr/bin/python3 -s\nfrom storefs.cli import main\n\nmain()\n"

INIT = """#!/bin/sh
/bin/busybox mkdir -p /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod "$module"; done
root=/mnt/root
mkdir -p $root
mount -t tmpfs -o mode=755 root $root
for name in usr nix proc sys dev run tmp etc bin image var; do mkdir -p $root/$name; done
chmod 1777 $root/tmp
mount -t erofs -o ro /dev/vda $root/image
mount --bind $root/image/usr $root/usr
for name in lib lib64; do ln -s usr/$name $root/$name; done
ln -s image/opt $root/opt
cp /bin/busybox $root/bin/busybox
cp /bin/vm-agent $root/bin/vm-agent
ln -s busybox $root/bin/sh
mount -t ext4 /dev/vdb $root/nix || exec sh
for name in dev proc sys; do mount --move /$name $root/$name; done
mkdir -p $root/dev/pts $root/dev/shm
mount -t devpts pts $root/dev/pts
mount -t tmpfs shm $root/dev/shm
cp /stage-1 $root/stage-1
exec switch_root $root /stage-1
"""

STAGE_1 = """#!/bin/sh
export PATH=/usr/bin:/usr/sbin:/bin PYTHONPATH=/opt/verglas HOME=/root TERM=linux
mkdir -p /root /run
printf 'root:x:0:0::/root:/bin/sh\\nalice:x:1001:1001::/tmp:/bin/sh\\nbob:x:1002:1002::/tmp:/bin/sh\\n' >/etc/passwd
printf 'root:x:0:\\nalice:x:1001:\\nbob:x:1002:\\n' >/etc/group
printf '127.0.0.1 localhost\\n' >/etc/hosts
busybox ip link set lo up
number=$(busybox cut -d: -f6 /sys/class/net/eth0/address 2>/dev/null | busybox sed s/^0//)
[ "$number" ] && busybox ip link set eth0 up && busybox ip addr add "10.0.0.$number/24" dev eth0
(PATH=/run/current-system/sw/bin:$PATH; while :; do vm-agent; sleep 1; done) &
profile=/nix/var/nix/profiles/system
if [ ! -e $profile ] && [ ! -L $profile ]; then
  echo "no system; the machine waits for commands"
  exec busybox init
fi
verglas mount --background || echo "the store could not be mounted"
chosen=$(busybox sed -n 's/.*generation=\\([0-9]*\\).*/\\1/p' /proc/cmdline)
if [ ! "$chosen" ] && [ "$(ls -d $profile-*-link | wc -l)" -gt 1 ] && busybox grep -q bootmenu /proc/cmdline; then
  numbers=$(ls -d $profile-*-link | busybox sed 's/.*system-\\(.*\\)-link/\\1/' | busybox sort -n)
  echo "generations:" $numbers
  echo "boot menu: a number and return, or return for the current one"
  read -r chosen
fi
system=$profile
[ "$chosen" ] && system=$profile-$chosen-link
system=$(busybox readlink -f $system)
exec "$system/init" "$system"
"""


def machine(images: Path, name: str, disk: Path, *, append: str = "", memory: int = 512) -> Hardware:
    """Return a machine with our programs on one disk and `disk` as its /nix."""
    kernel, _ = find_kernel()
    files = {"stage-1": (STAGE_1.encode(), 0o755)}
    initrd = make_initrd(images / f"initrd-{name}", MODULES, INIT, files)
    disks = [Disk(runtime_image(), "raw", readonly=True), Disk(disk)]
    return Hardware(uncompressed_kernel(kernel, CACHE), initrd, f"quiet {append}", memory=memory, disks=disks)


def runtime_image() -> Path:
    """Return the image of disk0, made anew when our code or the distribution's Python has changed."""
    stamp = max(
        (path.stat().st_mtime_ns for package in PACKAGES for path in (ROOT / package).rglob("*.[ps][yo]")), default=0
    )
    image = CACHE / f"runtime-{stamp}.erofs"
    if image.exists():
        return image
    CACHE.mkdir(parents=True, exist_ok=True)
    for old in sorted(CACHE.glob("runtime-*.erofs"), key=lambda path: path.stat().st_mtime)[:-2]:
        old.unlink()  # not the newest ones, which machines of another run may have open
    with tempfile.TemporaryDirectory(prefix="vm-runtime-", dir=CACHE) as folder:
        tree = Path(folder) / "tree"
        _fill_runtime(tree)
        temporary = Path(folder) / "image"
        make_erofs(temporary, tree)
        temporary.rename(image)
    return image


def empty_disk(images: Path, name: str, size: str = "1G") -> Path:
    """Return an ext4 disk with nothing on it, as a qcow2 image over a raw one."""
    raw = images / f"{name}.raw"
    folder = images / f"{name}.tree"
    folder.mkdir()
    _make_ext4(raw, folder, size)
    return make_disk(images / f"{name}.qcow2", size, backing=raw)


def system_disk(images: Path, name: str, configurations: list[str], size: str = "1G") -> Path:
    """Return a disk whose store holds a system for each configuration (text in the Nix language).

    They become generations 1, 2, ... of the system profile; the last one is the current one.
    """
    root = images / f"{name}.root"
    (root / "nix/var/nix/profiles").mkdir(parents=True)
    try:
        systems = []
        for number, configuration in enumerate(configurations, 1):
            file = images / f"{name}-{number}.nix"
            file.write_text(configuration)
            systems.append(build(root, file))
        profiles = root / "nix/var/nix/profiles"
        for number, system in enumerate(systems, 1):
            (profiles / f"system-{number}-link").symlink_to(system)
        (profiles / "system").symlink_to(f"system-{len(systems)}-link")
    finally:
        subprocess.run([BIN / "verglas", "umount", "--store", root], capture_output=True, check=False)
    shutil.rmtree(root / "nix/store", ignore_errors=True)
    (root / "nix/store").mkdir(exist_ok=True)
    raw = images / f"{name}.raw"
    _make_ext4(raw, root / "nix", size)
    return make_disk(images / f"{name}.qcow2", size, backing=raw)


def build(root: Path, configuration: Path) -> str:
    """Build a system into the chroot store `root` with our own programs, and return its store path."""
    command = [BIN / "nix-build", "--store", root, "--no-out-link", ROOT / "vm-tests/system"]
    command += ["--arg", "configuration", str(configuration)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(root), "NIX_CONFIG": "substituters =\nbuild-users-group =\n"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmTestError(f"the system could not be built: {done.stderr.strip()}")
    return done.stdout.strip()


def _make_ext4(raw: Path, folder: Path, size: str) -> None:
    with raw.open("wb") as file:
        file.truncate({"G": 1 << 30, "M": 1 << 20}[size[-1]] * int(size[:-1]))
    command = ["/sbin/mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0", "-d", str(folder), str(raw)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmTestError(f"mkfs.ext4 failed: {done.stderr.strip()}")


def _fill_runtime(tree: Path) -> None:
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    libraries = Path(sys.base_prefix) / "lib" / python.name
    unwanted = shutil.ignore_patterns(
        "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "config-*"
    )
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/sbin").mkdir()
    shutil.copy(python, tree / "usr/bin/python3")
    shutil.copytree(libraries, tree / "usr/lib" / python.name, ignore=unwanted, symlinks=False)
    shutil.copy(find_busybox(), tree / "usr/bin/busybox")
    listed = subprocess.run([find_busybox(), "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in listed:
        if not (tree / "usr/bin" / applet).exists():
            (tree / "usr/bin" / applet).symlink_to("busybox")
    for name in os.listdir(BIN):
        if name in {"verglas", "nix"} or name.startswith("nix-"):
            (tree / "usr/bin" / name).write_text(LAUNCHER)
            (tree / "usr/bin" / name).chmod(0o755)
    code = tree / "opt/verglas"
    code.mkdir(parents=True)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, code / package, ignore=shutil.ignore_patterns("*.c", "__pycache__"))
    for path in _dependencies():
        if path.is_dir():
            shutil.copytree(path, code / path.name, ignore=shutil.ignore_patterns("tests", "test"), dirs_exist_ok=True)
        else:
            shutil.copy(path, code / path.name)
    subprocess.run(
        [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-j", "2", code, tree / "usr/lib"],
        check=False,
        capture_output=True,
    )
    _copy_libraries(tree)


def _dependencies() -> list[Path]:
    """The files in site-packages that our declared dependencies consist of."""
    script = (
        "import importlib.metadata as m, re\n"
        "todo, seen, paths = ['verglas'], set(), set()\n"
        "while todo:\n"
        "    name = re.split(r'[ <>=!~;\\[(]', todo.pop())[0].lower().replace('_', '-')\n"
        "    if name in seen: continue\n"
        "    seen.add(name)\n"
        "    try: found = m.distribution(name)\n"
        "    except m.PackageNotFoundError: continue\n"
        "    todo += [r for r in found.requires or () if 'extra ==' not in r or 'http2' in r]\n"
        "    if name == 'verglas': continue\n"
        "    for file in found.files or ():\n"
        "        top = file.parts[0]\n"
        "        if top not in ('..', '__pycache__') and not top.endswith('.dist-info'):\n"
        "            paths.add(str(found.locate_file(top)))\n"
        "print('\\n'.join(sorted(paths)))\n"
    )
    done = subprocess.run([BIN / "python", "-c", script], capture_output=True, text=True, check=True, cwd="/")
    return [Path(line) for line in done.stdout.splitlines()]


def _copy_libraries(tree: Path) -> None:
    """Copy the shared libraries that anything in `tree` needs, to where the loader looks for them."""
    objects = [path for path in tree.rglob("*") if path.is_file() and (".so" in path.name or path.parent.name == "bin")]
    done = subprocess.run(["ldd", *objects], capture_output=True, text=True, check=False)
    for line in sorted(set(re.findall(r"(/\S+\.so\S*) \(0x", done.stdout))):
        if line.startswith(str(tree)):
            continue
        source = Path(line)
        target = tree / "usr" / os.path.relpath(source, "/").removeprefix("usr/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source.resolve(), target)
