"""Finds a name in a directory record: what every look-up of a mount and every walk into a tree asks.

Compiled (MODULES in setup.py); what has no types here has them in the .pxd. What a record looks like is said in
`trees.py`, which writes them. A record that was damaged raises, and nothing beyond it is ever read. For whoever holds
a record.
"""

# mypy: ignore-errors
# ruff: noqa: F821  both for the C types of the .pxd
from __future__ import annotations

import cython

from storefs.metadata.trees import DIRECTORY_OFFSETS, DIRENT_NAME, NAME_LENGTH, CorruptTreeError

if cython.compiled:
    from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
    from cython.cimports.libc.string import memcmp, memcpy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.metadata.trees import Record

_DAMAGED = "a directory record in the database is damaged"
_SLOTS = 64  # directories of which copies are kept at most; a power of two


def find_entry(record: Record, name: bytes) -> int | None:
    """Return the position in `record` of the entry called `name`, None if there is none. Binary search, no index.

    Raises:
        CorruptTreeError: the record's lengths do not fit together.
    """
    position: cython.Py_ssize_t
    if cython.compiled:
        buffer: Py_buffer
        PyObject_GetBuffer(record, cython.address(buffer), PyBUF_SIMPLE)
        try:
            position = search(cython.cast(cython.p_uchar, buffer.buf), buffer.len, name, len(name))
        finally:
            PyBuffer_Release(cython.address(buffer))
    else:
        position = search(record, len(record), name, len(name))
    return None if position < 0 else position


@cython.final
@cython.cclass
class RecentDirectories:
    """Copies of directory records that names were looked up in lately, by inode.

    For one thread, and `clear` for any. Compiled code finds entries here without making an object.
    """

    def __init__(self) -> None:
        if not cython.compiled:
            self.inodes = [0] * _SLOTS
        self.records = [b""] * _SLOTS

    def keep(self, inode: int, record: Record) -> None:
        """Keep a copy, in the place of an older one."""
        slot: cython.Py_ssize_t = inode & _SLOTS - 1
        self.inodes[slot] = 0  # first: another thread may clear in between
        self.records[slot] = bytes(record)
        self.inodes[slot] = inode

    def get(self, inode):
        """Return the copy of a directory, if there is one."""
        slot: cython.Py_ssize_t = inode & _SLOTS - 1
        record = self.records[slot]
        return record if record and self.inodes[slot] == inode else None

    def clear(self) -> None:
        """Drop all copies."""
        for slot in range(_SLOTS):
            self.inodes[slot] = 0
            self.records[slot] = b""


def search(data, size, name, length):
    """Return where the entry is, -1 if there is none; see `find_entry`."""
    low: cython.Py_ssize_t
    high: cython.Py_ssize_t
    middle: cython.Py_ssize_t
    position: cython.Py_ssize_t
    at: cython.Py_ssize_t
    found: cython.Py_ssize_t
    order: cython.Py_ssize_t
    start: cython.Py_ssize_t
    count: cython.Py_ssize_t
    if size < DIRECTORY_OFFSETS:
        raise CorruptTreeError(_DAMAGED)
    count = _number(data, 0)
    start = DIRECTORY_OFFSETS + ((4 * count + 7) & ~7)
    if start > size:
        raise CorruptTreeError(_DAMAGED)
    low = 0
    high = count
    while low < high:
        middle = (low + high) >> 1
        position = start + _number(data, DIRECTORY_OFFSETS + 4 * middle)
        at = position + DIRENT_NAME
        if at > size:
            raise CorruptTreeError(_DAMAGED)
        # The lowest byte of the length is all of it: names have 255 bytes at most.
        found = data[position + NAME_LENGTH]
        if at + found > size:
            raise CorruptTreeError(_DAMAGED)
        order = _compare(data, at, found, name, length)
        if order == 0:
            return position
        if order < 0:
            low = middle + 1
        else:
            high = middle
    return -1


def _number(data, at):
    if cython.compiled:
        number: cython.uint = 0
        memcpy(cython.address(number), data + at, 4)
        return number
    return int.from_bytes(data[at : at + 4], "little")


def _compare(data, at, found, name, length):
    """Return less than, or more than, or 0, as the name in the record is to the wanted one."""
    if cython.compiled:
        order: cython.int = memcmp(data + at, name, min(found, length))
        return order if order else found - length
    stored = bytes(data[at : at + found])
    return (stored > name) - (stored < name)
