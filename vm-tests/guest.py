"""Machines that run our programs: shared by the scenarios.

    disk0   EROFS, read-only: the distribution's Python and libraries, and Verglas, on /usr and /opt
    disk1   ext4: /nix, with a store that this file fills by running our own programs on the host
    memory  everything else

The initial RAM disk mounts disk0 and starts the driver's agent. From there a machine goes one of two ways:

`system`: `join` mounts disk1, `verglas mount` brings up /nix/store, a boot menu is shown if there are several
generations, and the system that was chosen takes over.

`machine`: it waits for commands. Its state at that point is kept in the cache, so that later ones do not boot: they go
on from there, get disk1 and the network plugged in, and `join` them. That takes half a second.
"""

from __future__ import annotations

import fcntl
import inspect
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from runtime import BIN, CACHE, ROOT, hash_of, keep_newest, runtime_image
from vmdriver import qemu
from vmdriver.driver import Driver
from vmdriver.errors import VmTestError
from vmdriver.hardware import Disk, Hardware, Resumed, find_qemu, kvm_works
from vmdriver.image import find_kernel, make_erofs, make_initrd, make_squashfs, uncompressed_kernel

if TYPE_CHECKING:
    import random

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
SHARES = ("9p", "9pnet_virtio", "virtiofs")
IMAGES = ("squashfs",)

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
for file in busybox vm-agent join; do cp /bin/$file $root/bin/$file; done
ln -s busybox $root/bin/sh
for name in dev proc sys; do mount --move /$name $root/$name; done
mkdir -p $root/dev/pts $root/dev/shm
mount -t devpts pts $root/dev/pts
mount -t tmpfs shm $root/dev/shm
cp /stage-1 $root/stage-1
exec switch_root $root /stage-1
"""

# join DISKS [network]: finds the machine's own disks and its network, which may have been plugged in only now.
JOIN = """#!/bin/sh
until [ "$(ls -d /dev/vd? | wc -l)" -ge "$1" ]; do sleep 0.02; done
mount -t ext4 /dev/vdb /nix
[ "$2" = network ] || exit 0
until [ -e /sys/class/net/eth0 ]; do sleep 0.02; done
number=$(cut -d: -f6 /sys/class/net/eth0/address | sed s/^0//)
ip link set eth0 up
ip addr add "10.0.0.$number/24" dev eth0
"""

STAGE_1 = """#!/bin/sh
export PATH=/usr/bin:/usr/sbin:/bin PYTHONPATH=/opt/verglas HOME=/root TERM=dumb
mkdir -p /root /run
{
  echo root:x:0:0::/root:/bin/sh
  echo alice:x:1001:1001::/home/alice:/bin/sh
  echo bob:x:1002:1002::/home/bob:/bin/sh
  for number in 1 2; do echo nixbld$number:x:3000$number:30000::/var/empty:/bin/false; done
} >/etc/passwd
printf 'root:x:0:\\nalice:x:1001:\\nbob:x:1002:\\nnixbld:x:30000:nixbld1,nixbld2\\n' >/etc/group
printf '127.0.0.1 localhost\\n' >/etc/hosts
for user in alice bob; do mkdir -p /home/$user; chown $user:$user /home/$user; done
busybox ip link set lo up
if grep -q systemd /proc/cmdline; then
  join 2
  mkdir -p /nix/etc/systemd/system/multi-user.target.wants
  cp /etc/passwd /etc/group /etc/hosts /nix/etc
  mount --bind /nix/etc /etc
  echo 0123456789abcdef0123456789abcdef >/etc/machine-id
  echo ID=test >/etc/os-release
  ln -s /usr/lib/systemd/bin/* /bin
  for name in poweroff reboot; do ln -s systemctl /bin/$name; done
  cat >/etc/systemd/system/vm-agent.service <<'EOF'
[Service]
Environment=PATH=/bin:/usr/bin:/usr/sbin HOME=/root
ExecStart=/bin/vm-agent
StandardError=journal+console
Restart=always
KillMode=process
EOF
  ln -sf ../vm-agent.service /etc/systemd/system/multi-user.target.wants/
  for unit in dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount; do
    ln -sf /dev/null /etc/systemd/system/$unit
  done
  exec /usr/lib/systemd/systemd
fi
(PATH=/run/current-system/sw/bin:$PATH; while :; do vm-agent; sleep 1; done) &
if grep -q waiting /proc/cmdline; then
  exec busybox init
fi
join 2 $([ -e /sys/class/net/eth0 ] && echo network)
profile=/nix/var/nix/profiles/system
case $(busybox sed -n 's/.*store=\\([a-z0-9]*\\).*/\\1/p' /proc/cmdline) in
  9p) mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose store /nix/store ;;
  virtiofs) mount -t virtiofs -o ro store /nix/store ;;
  erofs) mount -t erofs -o ro /dev/vdc /nix/store ;;
  squashfs) mount -t squashfs -o ro /dev/vdc /nix/store ;;
  *) verglas mount --background ;;
esac || echo "the store could not be mounted"
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

# Puts what our programs read into the page cache, before the state is kept that machines go on from.
WARM = """
nix-store --version >/dev/null
NIX_STATE_DIR=/tmp/warm/state NIX_STORE_DIR=/tmp/warm/store NIX_LOG_DIR=/tmp/warm/log \\
  NIX_CONFIG='auto-mount = false' sh -c '
  nix-store --add /etc/hosts && nix-store --verify && nix-instantiate --eval -E 1
  nix-build --help && verglas profile apply --help && verglas mount --help' >/dev/null 2>&1 || true
rm -rf /tmp/warm
sync
"""


def system(
    disk: Disk, *others: Disk, append: str = "", memory: int = 512, shares: dict[str, Path] | None = None
) -> Hardware:
    """Return a machine that boots the system on `disk`.

    Words in `append` choose how: 'bootmenu' shows one, 'generation=N' needs none; 'store=9p', 'store=virtiofs',
    'store=erofs' and 'store=squashfs' take /nix/store from the share 'store' or from the third disk, not from our mount
    on the second; with 'systemd' the distribution's systemd is the system.
    """
    hardware = _hardware(_initrd(), [disk, *others], append, memory)
    if "store=virtiofs" in append.split():
        hardware.virtiofs = shares or {}
    else:
        hardware.shares = shares or {}
    return hardware


def machine(
    disk: Disk, *others: Disk, memory: int = 512, vlans: tuple[int, ...] = (1,), shares: dict[str, Path] | None = None
) -> Hardware:
    """Return a machine with our programs and `disk` as its /nix, which waits for commands."""
    hardware = _hardware(_initrd(), [disk, *others], "waiting", memory)
    hardware.vlans = list(vlans)
    hardware.shares = shares or {}
    state = _waiting_state(memory)
    network = " network" if vlans else ""
    command = f"date -s @{int(time.time())} >/dev/null; join {len(hardware.disks)}{network}"
    hardware.resumed = Resumed(state, 1, command)
    return hardware


def _hardware(initrd: Path, disks: list[Disk], append: str, memory: int) -> Hardware:
    kernel = uncompressed_kernel(find_kernel()[0], CACHE)
    runtime = Disk(runtime_image(), "raw", readonly=True)
    return Hardware(kernel, initrd, f"quiet {append}", memory=memory, disks=[runtime, *disks])


def _files() -> dict[str, bytes | tuple[bytes, int]]:
    return {"stage-1": (STAGE_1.encode(), 0o755), "bin/join": (JOIN.encode(), 0o755)}


def _initrd() -> Path:
    """Return the initial RAM disk, named by what is in it."""
    parts = [INIT, STAGE_1, JOIN, (ROOT / "vm-tests/vmdriver/agent.sh").read_text(), str(find_kernel()[0])]
    target = CACHE / f"initrd-{hash_of(*parts, *MODULES, *SHARES, *IMAGES)}"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        keep_newest("initrd-*")
        temporary = target.with_name(f"{target.name}.{os.getpid()}")
        make_initrd(temporary, (*MODULES, *SHARES, *IMAGES), INIT, _files()).rename(target)
    return target


def _waiting_state(memory: int) -> Path:
    """Return the state of a machine that waits for its disk; boots one if none is kept for this very machine."""
    hardware = _hardware(_initrd(), [], "waiting", memory)
    hardware.vlans = []
    version = subprocess.run([find_qemu(), "--version"], capture_output=True, text=True, check=True).stdout
    parts = [str(hardware), version, WARM, inspect.getsource(qemu), str(kvm_works(hardware.kernel))]
    target = CACHE / f"state-{hash_of(*parts)}"
    with (CACHE / "state.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return target
        keep_newest("state-*")
        temporary = target.with_name(f"{target.name}.{os.getpid()}")
        with (
            tempfile.TemporaryDirectory(prefix="vm-waiting-") as folder,
            Driver("waiting", {"waiting": hardware}, Path(folder), quiet=True) as driver,
        ):
            waiting = driver.machines[0]
            waiting.succeed(WARM)
            waiting.save_state(temporary)
        temporary.rename(target)
    return target


def empty_disk(images: Path, name: str, size: str = "1G", *, write_cache: random.Random | None = None) -> Disk:
    """Return an ext4 disk with nothing on it."""
    folder = images / f"{name}.tree"
    folder.mkdir()
    return ext4_disk(images, name, folder, size, write_cache=write_cache)


def ext4_disk(
    images: Path, name: str, tree: Path, size: str = "1G", *, write_cache: random.Random | None = None
) -> Disk:
    """Return an ext4 disk with the contents of a directory."""
    raw = images / f"{name}.raw"
    with raw.open("wb") as file:
        file.truncate({"G": 1 << 30, "M": 1 << 20}[size[-1]] * int(size[:-1]))
    command = ["/sbin/mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0", "-d", str(tree), str(raw)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmTestError(f"mkfs.ext4 failed: {done.stderr.strip()}")
    return Disk(raw, "raw", write_cache=write_cache)


def squashfs_disk(images: Path, name: str, tree: Path) -> Disk:
    """Return a read-only SquashFS disk with the contents of a directory."""
    return Disk(make_squashfs(images / f"{name}.squashfs", tree), "raw", readonly=True)


def image_disk(images: Path, name: str, tree: Path) -> Disk:
    """Return a read-only EROFS disk with the contents of a directory."""
    return Disk(make_erofs(images / f"{name}.erofs", tree), "raw", readonly=True)


def system_disk(images: Path, name: str, configurations: list[str], size: str = "1G") -> Disk:
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
        umount(root)
    shutil.rmtree(root / "nix/store", ignore_errors=True)
    (root / "nix/store").mkdir(exist_ok=True)
    return ext4_disk(images, name, root / "nix", size)


def mount(root: Path) -> None:
    """Mount the chroot store `root` on this host."""
    command: list[str | Path] = [BIN / "verglas", "mount", "--background", "--if-needed", "--store", root]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmTestError(f"the store '{root}' could not be mounted: {done.stderr.strip()}")


def umount(root: Path) -> None:
    """End the mount of the chroot store `root`, if there is one."""
    subprocess.run([BIN / "verglas", "umount", "--store", root], capture_output=True, check=False)


def build(root: Path, configuration: Path) -> str:
    """Build a system into the chroot store `root` with our own programs, and return its store path."""
    command: list[str | Path] = [BIN / "nix-build", "--store", root, "--no-out-link", ROOT / "vm-tests/system"]
    command += ["--arg", "configuration", str(configuration)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(root), "NIX_CONFIG": "substituters =\nbuild-users-group =\n"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmTestError(f"the system could not be built: {done.stderr.strip()}")
    return done.stdout.strip()
