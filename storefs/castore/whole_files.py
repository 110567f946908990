"""Whole files read and written with one call each: most of an addition is that, thousands of times.

Every system call lets go of the interpreter lock and waits for it again, behind threads that hash and write; compiled,
a file does that once.  In plain Python the same, call by call.  For `castore`; paths are bytes, errors OSError.
"""

from __future__ import annotations

import os
import stat

import cython

if cython.compiled:
    from cython.cimports.storefs.castore.whole_files import verglas_read_whole, verglas_write_new

TYPE_CHECKING = False
if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview


def read_whole(path: bytes, limit: int) -> tuple[int, int, int, bytes] | None:
    """Return the mode, the number of links, the size and the contents of a regular file.

    None if the size is above ``limit``, and for what is no regular file.  Contents are shorter than the size where the
    file was cut meanwhile.  A link is not followed (ELOOP).
    """
    if cython.compiled:
        found: tuple[int, int, int, bytes] | None = verglas_read_whole(path, limit)
        return found
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        pieces = []
        left = status.st_size
        while left and (piece := os.read(fd, left)):
            pieces.append(piece)
            left -= len(piece)
        return status.st_mode, status.st_nlink, status.st_size, b"".join(pieces)
    finally:
        os.close(fd)


def write_new(path: bytes, content: Buffer, mode: int) -> None:
    """Make a file that is not there, with these contents."""
    if cython.compiled:
        verglas_write_new(path, content, mode)
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
