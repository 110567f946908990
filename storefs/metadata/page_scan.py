"""All rows of a table, read from the pages of the database file within a snapshot: for whoever passes over all of them.

py-lmdb makes two objects for each row, half a microsecond, and reads through the map, which makes most of the file
resident, and that takes as long again to take down. Here a page is one `pread`: 100,000 rows are some 9 ms instead of
60, in no more memory than a page for each level of the tree. Compiled (MODULES in setup.py), and for code that is;
where it is not, or the file is none of those described here, `open_pages` has nothing.

What makes it safe: LMDB writes no page that a snapshot can see (and without a writable map all of them are in the file
by the time it can), and a table's record, which LMDB itself looks up in the snapshot, says where its root is. What a
page says is believed of a sound file only: a damaged one is a DatabaseError, whatever it says.

Source for the layout: LMDB 0.9, mdb.c, "MDB_page", "MDB_node", "MDB_db" and "MDB_meta"; data version 1 as a 64-bit
little-endian machine writes it.  The file is opened by its name; nobody replaces it while a process has it open.
"""

from __future__ import annotations

import os
import sys
from _struct import Struct  # as in schema.py

import cython

from storefs.metadata.environment import DatabaseError

if cython.compiled:
    from cython.cimports.storefs.metadata.page_scan import (
        VERGLAS_DAMAGED,
        verglas_new_scan,
        verglas_next,
        verglas_scan_error,
    )

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from storefs.metadata.environment import Environment, Transaction

    Scan = object  # of page_scan.pxd

_META = Struct("<16xII16xI")  # of a meta page: magic, data version, ..., size of a page
_MAGIC = 0xBEEFC0DE
_DATA_VERSION = 1
_PAGE_SIZES = frozenset(1 << bits for bits in range(9, 17))
# Of a table: size of fixed keys, flags, depth, then how many branch, leaf and overflow pages and rows, and the root.
_TABLE = Struct("<IHHQQQQQ")
_NO_ROWS = _TABLE.pack(0, 0, 0, 0, 0, 0, 0, 2**64 - 1)
_SORTED_DUPLICATES = 4


class Pages:
    """The pages that one snapshot sees; a context manager, no longer open than the snapshot.  See `open_pages`."""

    def __init__(self, path: str, txn: Transaction, descriptor: int, page_size: int) -> None:
        self._path = path
        self._txn = txn
        self._descriptor = descriptor
        self._page_size = page_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def scan(self, table: str) -> Scan:
        """A scan before the first row, for code in C; of a table without duplicates, or one that is not there.

        Whoever uses it calls `check` when it ends.
        """
        record = bytes(self._txn.get(table.encode()) or _NO_ROWS)
        if len(record) != _TABLE.size or _TABLE.unpack(record)[1] & _SORTED_DUPLICATES:
            raise DatabaseError(f"the store database '{self._path}' is damaged: '{table}' is not what it was made as")
        return verglas_new_scan(self._descriptor, self._page_size, record)

    def check(self, scan: Scan, table: str) -> None:
        """Raise DatabaseError where a scan ended before the last row."""
        error = verglas_scan_error(scan)
        if error == VERGLAS_DAMAGED:
            raise DatabaseError(f"the store database '{self._path}' is damaged: a page of '{table}' is not one")
        if error:
            raise DatabaseError(f"the store database '{self._path}' can't be read: {os.strerror(error)}")

    def rows(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of each row, in order."""
        scan = self.scan(table)
        while (row := verglas_next(scan)) is not None:
            yield row
        self.check(scan, table)


def open_pages(env: Environment, txn: Transaction) -> Pages | None:
    """The pages that ``txn`` sees, which is a snapshot and stays open; None where its rows are to be asked for."""
    if not cython.compiled or sys.byteorder != "little" or sys.maxsize < 2**32:
        return None
    try:
        descriptor = os.open(env.file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    meta = os.pread(descriptor, _META.size, 0)
    magic, version, page_size = _META.unpack(meta) if len(meta) == _META.size else (0, 0, 0)
    if (magic, version) == (_MAGIC, _DATA_VERSION) and page_size in _PAGE_SIZES:
        return Pages(env.path, txn, descriptor, page_size)
    os.close(descriptor)
    return None
