"""Regular files of one folder read with one call, as the text that their entries are in a NAR.

Most of an addition is small files.  Read one by one, each costs several calls, objects and turns of the interpreter
lock, behind threads that hash and write; here dozens cost that once, and their names are looked up in an open folder.
In plain Python the same, call by call.  For castore/host_tree.py; names and paths are bytes.
"""

from __future__ import annotations

import os
import stat

import cython

from storefs.formats.nar import ENTRY_CLOSES, ENTRY_OPENS, EXECUTABLE_OPENS, MAX_NAME_LENGTH, REGULAR_OPENS

if cython.compiled:
    from cython.cimports.storefs.castore.file_runs import verglas_read_run

# Bytes of text: small enough for the processor's cache, from which it is hashed and written.
RUN_SIZE = 512 << 10
MOST_FILES = 256  # of one run: their fields are on the stack


def read_run(
    folder: bytes, names: list[bytes], limit: int, buffers: list[bytearray]
) -> tuple[memoryview, list[tuple[bytes, bool, int, int, int]]]:
    """Read the files called ``names`` of ``folder`` from the first on, as many as make one run.

    Returns the text of their entries, and of each file the name, whether it is executable, its size, where its contents
    begin in the text, and how many names it has.  The text stays what it is while there is a view of it; ``buffers``
    are the caller's, from one call to the next, and used again when nothing else refers to them.

    The run ends before what can't be in it: what is no regular file, is larger than ``limit``, became shorter
    meanwhile, or can't be read.  Where that is the first, there is no run, and who reads that alone meets the reason.
    """
    if cython.compiled:
        buffer, size, found = verglas_read_run(
            folder, names, len(names), buffers, RUN_SIZE, limit, ENTRY_OPENS, REGULAR_OPENS, EXECUTABLE_OPENS,
            ENTRY_CLOSES,
        )  # fmt: skip
        return memoryview(buffer).toreadonly()[:size], found
    pieces: list[bytes] = []
    files: list[tuple[bytes, bool, int, int, int]] = []
    length = 0
    try:
        opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return memoryview(b""), files
    try:
        for name in names[:MOST_FILES]:
            found_file = _read(opened, name, min(limit, RUN_SIZE - length - _around(name)))
            if found_file is None:
                break
            status, content = found_file
            executable = bool(status.st_mode & stat.S_IXUSR)
            opens = EXECUTABLE_OPENS if executable else REGULAR_OPENS
            size = len(content)
            head = (ENTRY_OPENS[len(name)], name, opens[len(name) & 7], size.to_bytes(8, "little"))
            pieces += (*head, content, ENTRY_CLOSES[size & 7])
            start = length + sum(map(len, head))
            files.append((name, executable, size, start, status.st_nlink))
            length = start + size + len(ENTRY_CLOSES[size & 7])
    finally:
        os.close(opened)
    return memoryview(b"".join(pieces)), files


def _around(name: bytes) -> int:
    """At most so many bytes of text are not a file's contents; for what is no name, more than any run has."""
    if len(name) > MAX_NAME_LENGTH:
        return RUN_SIZE + 1
    return len(ENTRY_OPENS[0]) + len(name) + len(EXECUTABLE_OPENS[1]) + 8 + len(ENTRY_CLOSES[1])


def _read(folder: int, name: bytes, limit: int) -> tuple[os.stat_result, bytes] | None:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        content = b""
        while len(content) < status.st_size and (piece := os.read(descriptor, status.st_size - len(content))):
            content += piece
        return (status, content) if len(content) == status.st_size else None
    except OSError:
        return None
    finally:
        os.close(descriptor)
