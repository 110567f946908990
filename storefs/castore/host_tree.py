"""A file, link or directory of the host's file system as NAR events: what is added to a store, dumped and hashed.

Reads only.  Works at any depth: paths beyond the kernel's PATH_MAX are walked from an open directory.  For
castore/ingest.py, the stores and the commands that hash.
"""

from __future__ import annotations

import os
import stat

from storefs.castore.file_runs import MOST_FILES, read_run
from storefs.castore.whole_files import read_whole
from storefs.errors import StoreError
from storefs.formats.nar import Directory, EndDirectory, FileRun, Regular, Symlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from storefs.formats.nar import Event, EventOrRun

    Keep = Callable[[bytes, str], bool]

WHOLE_LIMIT = 256 << 10  # bytes: files up to this size are one piece, read with one call
PIECE_SIZE = 1 << 20
OPEN_FOLDER = b"/proc/self/fd/"  # paths that begin with it hold as long as that folder is being visited
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
    __slots__ = ("anchor", "entries", "path", "position", "shown")

    def __init__(self, path: bytes, shown: bytes, entries: list[tuple[bytes, bool]], anchor: int) -> None:
        self.path = path  # how the kernel is asked
        self.shown = shown  # what the user calls it
        self.entries = entries  # (name, whether it is a regular file), in order
        self.position = 0  # of the next one to visit
        self.anchor = anchor  # an open descriptor that ``path`` goes through, or -1

    def files_from_here(self) -> list[bytes]:
        """The names of the regular files that come next, as many as one run can have."""
        names = []
        entries = self.entries
        position = self.position
        end = min(len(entries), position + MOST_FILES)
        while position < end and entries[position][1]:
            names.append(entries[position][0])
            position += 1
        return names


def host_events(path: str, order: Callable[[bytes], bytes] | None = None) -> Iterator[Event]:
    """Yield the tree at ``path``; a symbolic link there is itself the tree.

    ``order`` gives what entries are sorted by instead of their names.
    Raises HostTreeError for what can't be read, changes while it is read, or is a socket, a pipe or a device.
    """
    for event in _walk(path, None, order, runs=False):
        assert not isinstance(event, FileRun)
        yield event


def host_runs(path: str, keep: Keep | None = None) -> Iterator[EventOrRun]:
    """Like `host_events`, and several times as fast where there are many files: those of a folder come in runs.

    ``keep`` is asked for every entry beneath, with its path and 'regular', 'directory', 'symlink' or 'unknown'.
    """
    return _walk(path, keep, None, runs=keep is None)


def _walk(path: str, keep: Keep | None, order: Callable[[bytes], bytes] | None, *, runs: bool) -> Iterator[EventOrRun]:
    start = os.fsencode(path)
    stack: list[_Frame] = []
    buffers: list[bytearray] = []
    name = b""
    kernel_path = shown = start
    is_regular = False
    try:
        while True:
            if is_regular:
                # The usual case: opened without another look.
                whole = _read_whole(kernel_path, shown)
                if whole is None:
                    yield from _regular(kernel_path, shown, name)
                else:
                    mode, links, size, content = whole
                    yield HostRegular(name, bool(mode & stat.S_IXUSR), size, kernel_path, links)
                    if len(content) < size:
                        raise HostTreeError(f"file '{os.fsdecode(shown)}' became shorter while it was read")
                    if size:
                        yield content
            else:
                event = _visit(kernel_path, shown, name, stack, order)
                if event is None:
                    yield from _regular(kernel_path, shown, name)
                else:
                    yield event
            while stack:
                frame = stack[len(stack) - 1]
                if frame.position == len(frame.entries):
                    yield EndDirectory()
                    stack.pop()
                    if frame.anchor >= 0:
                        os.close(frame.anchor)
                    continue
                name, is_regular = frame.entries[frame.position]
                if runs and is_regular:
                    text, files = read_run(frame.path, frame.files_from_here(), WHOLE_LIMIT, buffers)
                    if files:
                        frame.position += len(files)
                        run = FileRun(frame.path, text, files)
                        del text  # which would keep its buffer from being used again
                        yield run
                        del run
                        continue
                frame.position += 1
                shown = frame.shown + b"/" + name
                kernel_path = frame.path + b"/" + name
                if keep is None or keep(shown, _kind(kernel_path)):
                    break
            else:
                return
    finally:
        for frame in stack:
            if frame.anchor >= 0:
                os.close(frame.anchor)


def _visit(
    path: bytes, shown: bytes, name: bytes, stack: list[_Frame], order: Callable[[bytes], bytes] | None
) -> Event | None:
    """Look at an object that is not known to be a regular file, and enter it if it is a directory; None for a file."""
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode):
            return None
        if stat.S_ISLNK(mode):
            return Symlink(name, os.readlink(path))
        if not stat.S_ISDIR(mode):
            raise HostTreeError(f"file '{os.fsdecode(shown)}' has an unsupported type")
        anchor = -1
        if len(path) > _LONGEST_PATH:
            anchor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            path = OPEN_FOLDER + b"%d" % anchor
        try:
            with os.scandir(path) as found:
                entries = [(entry.name, entry.is_file(follow_symlinks=False)) for entry in found]
        except OSError:
            if anchor >= 0:
                os.close(anchor)
            raise
    except OSError as error:
        raise HostTreeError(f"cannot read '{os.fsdecode(shown)}': {error.strerror}") from error
    entries.sort(key=None if order is None else lambda entry: order(entry[0]))
    stack.append(_Frame(path, shown, entries, anchor))
    return Directory(name)


def _read_whole(path: bytes, shown: bytes) -> tuple[int, int, int, bytes] | None:
    try:
        return read_whole(path, WHOLE_LIMIT)
    except OSError as error:
        raise HostTreeError(f"cannot read '{os.fsdecode(shown)}': {error.strerror}") from error


def _regular(path: bytes, shown: bytes, name: bytes) -> Iterator[Event]:
    try:
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
    except OSError as error:
        raise HostTreeError(f"cannot read '{os.fsdecode(shown)}': {error.strerror}") from error


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
