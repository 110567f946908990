"""The image of disk0: the distribution's Python and libraries, Verglas, and what machines need besides.

That is an SSH server and client, and systemd, from Debian's packages where they are installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from vmdriver.image import find_busybox, make_erofs

ROOT = Path(__file__).parents[1]
BIN = Path(os.environ.get("VERGLAS_BIN", ROOT / ".venv/bin"))
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "verglas-vm-tests"
PACKAGES = ("storefs", "builder", "evaluator", "profiles")
STARTER = "verglas.py"
SSH = ("dropbear", "dropbearkey", "ssh", "ssh-keygen")
LAUNCHER = """#!/usr/bin/python3 -s
import os
import sys

os.environ["PYTHONPATH"] = "/opt/verglas"  # for who comes by ssh, and for our own children
sys.path.insert(1, "/opt/verglas")
from verglas import start

start()
"""

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# What systemd starts by itself. Its package has more, for consoles, users, keyboards and networks that are not there.
_WANTED_UNITS = re.compile(r"systemd-(journald|tmpfiles-setup|journal-flush)|\.target$")
_UNWANTED = re.compile(r"/share/|/user(-|/|$)|generator|/(udev|modprobe\.d|kernel|sysusers\.d|binfmt\.d)/|cryptsetup")


def runtime_image() -> Path:
    """Return the image of disk0, made anew when our code or the distribution's programs have changed."""
    code = hashlib.sha256()
    code.update((ROOT / STARTER).read_bytes())
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.[ps][yo]")):
            code.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    programs = (shutil.which(name, path=_PATH) for name in (*SSH, "systemctl", "python3", "busybox"))
    parts = [code.hexdigest(), *(str(os.stat(program).st_mtime_ns) for program in programs if program)]
    image = CACHE / f"runtime-{hash_of(Path(__file__).read_text(), *parts)}.erofs"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "runtime.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests that run at the same time make one
        if not image.exists():
            keep_newest("runtime-*.erofs")
            _make(image)
    return image


def _make(image: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="vm-runtime-", dir=CACHE) as folder:
        tree = Path(folder) / "tree"
        _fill(tree)
        temporary = Path(folder) / "image"
        make_erofs(temporary, tree)
        temporary.rename(image)


def hash_of(*texts: str) -> str:
    """Return a short name for what is made from these texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def keep_newest(pattern: str) -> None:
    """Remove what matches in the cache but the two newest, which machines of another run may have open."""
    for old in sorted(CACHE.glob(pattern), key=lambda path: path.stat().st_mtime)[:-2]:
        old.unlink()


def _fill(tree: Path) -> None:
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
    for name in SSH:
        if program := shutil.which(name, path=_PATH):
            shutil.copy(program, tree / "usr/bin" / name)
    _copy_systemd(tree)
    code = tree / "opt/verglas"
    code.mkdir(parents=True)
    shutil.copy(ROOT / STARTER, code)
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


def _copy_systemd(tree: Path) -> None:
    listed = subprocess.run(["dpkg", "-L", "systemd"], capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        place = re.sub(r"^/(usr/)?(bin/)?", lambda found: "usr/lib/systemd/bin/" if found[2] else "usr/", line)
        source, target = Path(line), tree / place
        if _UNWANTED.search(line) or not line.startswith(("/lib/", "/bin/", "/usr/")) or target.exists():
            continue
        if ".wants/" in line and not _WANTED_UNITS.search(line):
            continue
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target, follow_symlinks=False)


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
    objects = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink() and _is_elf(path)]
    done = subprocess.run(["ldd", *objects], capture_output=True, text=True, check=False)
    for line in sorted(set(re.findall(r"(/\S+\.so\S*) \(0x", done.stdout))):
        if line.startswith(str(tree)):
            continue
        source = Path(line)
        target = tree / "usr" / os.path.relpath(source, "/").removeprefix("usr/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source.resolve(), target)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"
