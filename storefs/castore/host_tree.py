"""A file, link or directory of the host's file system as NAR events: what is added to a store, dumped and hashed.

Reads only.  Works at any depth: paths beyond the kernel's PATH_MAX are walked from an open directory.  For
castore/ingest.py, the stores and the commands that hash.
"""

from __future__ import annotations

import os
import stat

from storefs.errors import StoreError
from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from storefs.formats.nar import Event

    Keep = Callable[[bytes, str], bool]

PIECE_SIZE = 1 << 20
_LONGEST_PATH = 1500  # bytes; a longer one is continued relative to an open directory, which is also faster


class HostTreeError(StoreError):
    """An object of the host's file system can't be read, or can't be in a store."""


class HostRegular(Regular):
    """A regular file that stands at the host path ``path``, which nobody else refers to if ``links`` is 1."""

    __slots__ = ("links", "path")

    def __init__(self, name: bytes, executable: bool, size: int, path: bytes, links: int) -> None:
        super().__init__(name, executable, size)
        self.path = path
        self.links = links


class _Frame:
    __slots__ = ("anchor", "entries", "path", "shown")

    def __init__(self, path: bytes, shown: bytes, entries: list[bytes], anchor: int) -> None:
        self.path = path  # how the kernel is asked
        self.shown = shown  # what the user calls it
        self.entries = entries  # names still to visit, last first
        self.anchor = anchor  # an open descriptor that ``path`` goes through, or -1


def host_events(path: str, keep: Keep | None = None) -> Iterator[Event]:
    """Yield the tree at ``path``; a symbolic link there is itself the tree.

    ``keep`` is asked for every entry beneath, with its path and 'regular', 'directory', 'symlink' or 'unknown'.
    Raises HostTreeError for what can't be read, changes while it is read, or is a socket, a pipe or a device.
    """
    start = os.fsencode(path)
    stack: list[_Frame] = []
    try:
        yield from _visit(start, start, b"", stack)
        while stack:
            frame = stack[-1]
            if not frame.entries:
                yield EndDirectory()
                stack.pop()
                if frame.anchor >= 0:
                    os.close(frame.anchor)
                continue
            name = frame.entries.pop()
            shown = frame.shown + b"/" + name
            child = frame.path + b"/" + name
            if keep is not None and not keep(shown, _kind(child)):
                continue
            yield from _visit(child, shown, name, stack)
    finally:
        for frame in stack:
            if frame.anchor >= 0:
                os.close(frame.anchor)


def _visit(path: bytes, shown: bytes, name: bytes, stack: list[_Frame]) -> Iterator[Event]:
    try:
        status = os.lstat(path)
        mode = status.st_mode
        if stat.S_ISREG(mode):
            yield from _regular(path, shown, name)
        elif stat.S_ISDIR(mode):
            anchor = -1
            if len(path) > _LONGEST_PATH:
                anchor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                path = b"/proc/self/fd/%d" % anchor
            try:
                entries = os.listdir(path)
            except OSError:
                if anchor >= 0:
                    os.close(anchor)
                raise
            entries.sort(reverse=True)
            stack.append(_Frame(path, shown, entries, anchor))
            yield Directory(name)
        elif stat.S_ISLNK(mode):
            yield Symlink(name, os.readlink(path))
        else:
            raise HostTreeError(f"file '{os.fsdecode(shown)}' has an unsupported type")
    except OSError as error:
        raise HostTreeError(f"cannot read '{os.fsdecode(shown)}': {error.strerror}") from error


def _regular(path: bytes, shown: bytes, name: bytes) -> Iterator[Event]:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        size = left = status.st_size
        yield HostRegular(name, bool(status.st_mode & stat.S_IXUSR), size, path, status.st_nlink)
        while left:
            piece = os.read(fd, min(left, PIECE_SIZE))
            if not piece:
                raise HostTreeError(f"file '{os.fsdecode(shown)}' became shorter while it was read")
            left -= len(piece)
            yield piece
    finally:
        os.close(fd)


def _kind(path: bytes) -> str:
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        raise HostTreeError(f"cannot read '{os.fsdecode(path)}': {error.strerror}") from error
    if stat.S_ISREG(mode):
        return "regular"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "unknown"
