"""Where something is mounted beneath the root of a sandbox: found, or made in what is the build's own.

A directory of the host that a sandbox shows may have the mount point of another bind in it, as in `sandbox-paths = /bin
/bin/sh=...`. What stands there is the host's: nothing is made in it, let alone written through a link that leads on.
(Nix 2.8 opens the mount point with O_TRUNC, and empties the host's shell that way.) Standard library only, between
clone(2) and execve(2); every function raises OSError.
"""

from __future__ import annotations

import errno
import os

from builder.sandbox import syscalls


class MountPoints:
    """The mount points beneath one root. Links in paths lead to places beneath that root, too."""

    def __init__(self, root: str) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._own_device = os.fstat(self._root).st_dev
        self._own_mounts: set[int] = set()

    def close(self) -> None:
        """Let go of the root."""
        os.close(self._root)

    def mount(self, source: str, path: str, flags: int, *, folder: bool, own: bool) -> None:
        """Mount the file or directory `source` at `path`. With `own`, further mount points may be made in it."""
        target = self._open(path, folder=folder)
        try:
            syscalls.mount(source, f"/proc/self/fd/{target}", flags=flags)
        finally:
            os.close(target)
        if own:
            mounted = syscalls.open_beneath(self._root, path)
            self._own_mounts.add(_mount_id(mounted))
            os.close(mounted)

    def _open(self, path: str, *, folder: bool) -> int:
        try:
            return syscalls.open_beneath(self._root, path)
        except FileNotFoundError:
            pass
        top, _, name = path.rstrip("/").rpartition("/")
        parent = self._open(top or "/", folder=True)
        try:
            if os.fstat(parent).st_dev != self._own_device and _mount_id(parent) not in self._own_mounts:
                text = f"'{path}' does not exist in what the host shows at '{top}', and is not made there"
                raise OSError(errno.EROFS, text)
            if folder:
                os.mkdir(name, 0o755, dir_fd=parent)
            else:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(name, flags, 0o644, dir_fd=parent))
        finally:
            os.close(parent)
        return syscalls.open_beneath(self._root, path)


def _mount_id(descriptor: int) -> int:
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return int(line[7:])
    raise OSError(errno.ENOSYS, "the kernel does not tell the mount of a file")
