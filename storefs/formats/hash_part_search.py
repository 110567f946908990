"""Which of many hash parts occur in some bytes, in compiled code: without Python's lock, at gigabytes a second.

For `refscan` alone, which does the same in plain Python where this is not compiled (`SEARCHES` is False).

Each look is at the last of thirty-two bytes first: one that no hash part contains, as seven of eight bytes of machine
code, lets the search go on behind it (Boyer and Moore, CACM 20, 1977).  Thirty-two bytes of the alphabet are looked up
in a hash table by the first eight.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.storefs.formats.hash_part_search import verglas_index_parts, verglas_search_parts

SEARCHES = bool(cython.compiled)

_LENGTH = 32
_SLOT = 4  # bytes


class HashPartSearch:
    """Looks for ``parts``, 32 characters each of the base-32 alphabet; compiled code only."""

    __slots__ = ("_joined", "_parts", "_seen", "_table")

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts
        self._joined = b"".join(parts)
        self._seen = bytearray(len(parts))
        self._table = bytearray(_SLOT << (2 * len(parts)).bit_length())
        verglas_index_parts(self._table, self._joined)

    def search(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Return which parts occur in ``data``, if there is one that did not in what was searched before."""
        if not verglas_search_parts(data, self._table, self._joined, self._seen):
            return []
        return [part for part, seen in zip(self._parts, self._seen, strict=True) if seen]
