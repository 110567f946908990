"""What a machine boots from: the distribution's kernel, an initial RAM disk made here, and disk images.

The archive is written directly (cpio "newc", Documentation/driver-api/early-userspace/buffer-format.rst), so that
neither root nor a program of the distribution is needed for it.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from vmdriver.errors import MissingProgramError, VmTestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_BOOT = Path("/boot")
_MODULES = Path("/lib/modules")


def find_kernel() -> tuple[Path, Path]:
    """Return the newest kernel image that has its modules, and the directory of those."""
    found = []
    for image in _BOOT.glob("vmlinuz-*"):
        modules = _MODULES / image.name.removeprefix("vmlinuz-")
        if (modules / "modules.dep").exists() and os.access(image, os.R_OK):
            found.append((image.stat().st_mtime, image, modules))
    if not found:
        raise MissingProgramError("a kernel with its modules below /boot and /lib/modules", "linux-image-amd64")
    return max(found)[1:]


def uncompressed_kernel(image: Path, cache: Path) -> Path:
    """Return an ELF kernel that QEMU can enter directly (PVH), kept below `cache`; the image itself if there is none.

    Without KVM this halves the time to boot: a compressed kernel unpacks itself in emulated real and protected mode.
    The layout is that of Documentation/x86/boot.rst: payload_offset and payload_length, behind the setup sectors.
    """
    status = image.stat()
    target = cache / f"vmlinux-{image.name}-{status.st_size}-{status.st_mtime_ns}"
    if target.exists():
        return target
    data = image.read_bytes()
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = ((data[0x1F1] or 4) + 1) * 512 + offset
    payload = data[start : start + length]
    if payload.startswith(b"\xfd7zXZ\0"):
        kernel = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd") and shutil.which("zstd"):
        kernel = subprocess.run(["zstd", "-dcq"], input=payload, capture_output=True, check=False).stdout
    else:
        return image
    if not kernel.startswith(b"\x7fELF"):
        return image
    cache.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    temporary.write_bytes(kernel)
    temporary.rename(target)
    return target


def needed_modules(names: Iterable[str], modules: Path) -> list[Path]:
    """Return the files to load, in order, so that all of `names` work; what is built in needs none.

    Raises:
        VmTestError: the kernel has no such module.
    """
    dependencies: dict[str, tuple[str, list[str]]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, needs = line.partition(":")
        dependencies[_module_name(file)] = (file, [_module_name(need) for need in needs.split()])
    builtin = {_module_name(line) for line in (modules / "modules.builtin").read_text().splitlines()}
    ordered: list[Path] = []

    def add(name: str) -> None:
        if name in builtin:
            return
        if name not in dependencies:
            raise VmTestError(f"the kernel has no module '{name}' in {modules}")
        file, needs = dependencies[name]
        for need in needs:
            add(need)
        if modules / file not in ordered:
            ordered.append(modules / file)

    for name in names:
        add(name.replace("-", "_"))
    return ordered


def module_bytes(path: Path) -> bytes:
    """Return a module's ELF file, uncompressed."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    return data


def _module_name(file: str) -> str:
    return file.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


class Archive:
    """Puts a cpio archive together. Paths are relative; the directories above a file are made as needed."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._made: set[str] = set()

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._add(path, stat.S_IFREG | mode, content)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add a directory."""
        if path and path not in self._made:
            self._made.add(path)
            self._add(path, stat.S_IFDIR | mode, b"")

    def device(self, path: str, major: int, minor: int) -> None:
        """Add a character device: the kernel opens /dev/console before anything can make it."""
        self._add(path, stat.S_IFCHR | 0o600, b"", (major, minor))

    def finish(self) -> bytes:
        """Return the archive."""
        self._entry("TRAILER!!!", 0, b"", (0, 0))
        return b"".join(self._parts)

    def _add(self, path: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> None:
        folder = path.rpartition("/")[0]
        if folder:
            self.directory(folder)
        self._entry(path, mode, content, device)

    def _entry(self, path: str, mode: int, content: bytes, device: tuple[int, int]) -> None:
        name = path.encode() + b"\0"
        fields = [len(self._parts) + 1, mode, 0, 0, 1, 1, len(content), 0, 0, *device, len(name), 0]
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self._parts.append(header + bytes(-len(header) % 4) + content + bytes(-len(content) % 4))


def find_busybox() -> Path:
    """Return a statically linked busybox."""
    for candidate in ("/usr/bin/busybox", "/bin/busybox"):
        if os.path.exists(candidate):
            return Path(candidate)
    raise MissingProgramError("a static busybox", "busybox-static")


def make_initrd(
    target: Path, modules: Iterable[str], init: str, files: Mapping[str, bytes | tuple[bytes, int]] | None = None
) -> Path:
    """Write an initial RAM disk: busybox, modules in loading order (/modules/NN-name.ko), the agent, and /init.

    Args:
        target: where it is written.
        modules: names of kernel modules.
        init: the text of /init; `#!/bin/sh` is busybox's shell.
        files: more files, by relative path; with a mode if it is not 0644.
    """
    _, folder = find_kernel()
    archive = Archive()
    for name in ("dev", "proc", "sys", "run", "tmp", "etc", "root", "mnt"):
        archive.directory(name)
    archive.device("dev/console", 5, 1)
    archive.file("bin/busybox", find_busybox().read_bytes(), 0o755)
    archive.symlink("bin/sh", "busybox")
    for number, module in enumerate(needed_modules(modules, folder)):
        archive.file(f"modules/{number:02}-{_module_name(module.name)}.ko", module_bytes(module))
    archive.file("bin/vm-agent", Path(__file__).with_name("agent.sh").read_bytes(), 0o755)
    archive.file("init", init.encode(), 0o755)
    for path, content in (files or {}).items():
        data, mode = (content, 0o644) if isinstance(content, bytes) else content
        archive.file(path, data, mode)
    target.write_bytes(gzip.compress(archive.finish(), 1))
    return target


def make_disk(path: Path, size: str, *, backing: Path | None = None) -> Path:
    """Make an empty qcow2 disk, or one that begins as `backing` (a raw image) and keeps what is written for itself.

    Args:
        path: where it is written.
        size: as in '2G'.
        backing: never written to.
    """
    command = ["qemu-img", "create", "-q", "-f", "qcow2"]
    if backing is not None:
        command += ["-b", str(backing.absolute()), "-F", "raw"]
    _run([*command, str(path), size], "qemu-utils")
    return path


def make_erofs(path: Path, tree: Path) -> Path:
    """Make a read-only EROFS image of a directory."""
    _run(["mkfs.erofs", "-T1", "--quiet", str(path), str(tree)], "erofs-utils")
    return path


def make_squashfs(path: Path, tree: Path) -> Path:
    """Make a read-only SquashFS image of a directory."""
    _run(["mksquashfs", str(tree), str(path), "-quiet", "-no-progress", "-mkfs-time", "1"], "squashfs-tools")
    return path


def _run(command: list[str], package: str) -> None:
    if shutil.which(command[0]) is None:
        raise MissingProgramError(f"the program '{command[0]}'", package)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmTestError(f"'{' '.join(command)}' failed: {done.stderr.strip()}")
