"""Files that survive a power cut: the only place that calls fsync, syncfs and rename for durability.

The order everywhere is bytes, then one metadata transaction, then visible (ARCHITECTURE.md). Sources: fsync(2),
syncfs(2), rename(2), and Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

from __future__ import annotations

import os
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_SYNC_FILE_RANGE_WRITE = 2

_temporary_numbers = count(1)  # of the process, which is what makes names unique; threads may ask at once


def temporary_name(path: str) -> str:
    """Return a name beside `path` that says which process made it: a collector asks whether that one still runs.

    It ends as nothing else does: whoever looks for files by how they end does not find half a one.
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, f".tmp-{os.getpid()}-{next(_temporary_numbers)}-{name}"[:254] + "~")


def is_in_use(path: str) -> bool:
    """Whether `path` has a name that `temporary_name` gave, and the process that asked for it still runs."""
    name = os.path.basename(path)
    if not name.startswith(".tmp-"):
        return False
    try:
        os.kill(int(name.split("-", 2)[1]), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def sync_directory(path: str) -> None:
    """Make the names in the directory `path` durable. Blocks on the disk; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directories(path: str, mode: int = 0o777) -> None:
    """Make the directory `path` and those above it that are missing, and make the names of the new ones durable.

    What is put into a directory is lost with the directory's own name.  Blocks on the disk where something is made;
    raises OSError.
    """
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path) or "."
    for each in reversed(missing):
        try:
            os.mkdir(each, mode if each == missing[0] else 0o777)
        except FileExistsError:
            if not os.path.isdir(each):  # else another process was faster, and its sync may be to come
                raise
        sync_directory(os.path.dirname(each) or ".")


def sync_file(path: str) -> None:
    """Make the contents of the file `path` durable, not its name. Blocks on the disk; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file_system(path: str) -> None:
    """Make everything written to the file system that holds `path` durable: one syncfs(2) for a whole batch.

    Blocks on the disk; raises OSError when the kernel reports a failed write-back.
    """
    import ctypes  # noqa: PLC0415  2 ms that queries need not pay

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(fd)


def start_writing(path: str) -> None:
    """Have the disk begin to write the file `path`, which is not durable for that: sync_file_range(2).

    Blocks hardly; raises OSError.
    """
    import ctypes  # noqa: PLC0415  2 ms that queries need not pay

    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(fd)


def replace_file(path: str, content: bytes, mode: int = 0o644) -> None:
    """Give `path` this content, durably: readers see the old bytes or the new ones, also after a power cut.

    Blocks on the disk; raises OSError and leaves the old file and no temporary one.
    """
    replace_by_pieces(path, (content,), mode)


def replace_by_pieces(path: str, pieces: Iterable[bytes], mode: int = 0o644) -> None:
    """Like `replace_file`, of contents that come in pieces; what getting the next one raises ends it, too."""
    temporary, fd = _create_beside(path, mode)
    try:
        try:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(path) or ".")


def _create_beside(path: str, mode: int) -> tuple[str, int]:
    """Create a temporary file; one of this name may be a dead process's, or of another machine in the same folder."""
    while True:
        temporary = temporary_name(path)
        try:
            return temporary, os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError:
            continue
        except OSError as error:
            error.filename = path  # who is told of it has named this one
            raise


def replace_symlink(path: str, target: str) -> None:
    """Make `path` a symbolic link to `target` with one rename, durably.

    Blocks on the disk; raises OSError and leaves the old link and no temporary one.
    """
    temporary = temporary_name(path)
    try:
        os.symlink(target, temporary)
    except OSError as error:
        error.filename = path  # as above
        raise
    try:
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(path) or ".")
