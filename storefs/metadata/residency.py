"""Keeping a scan of a large database from counting as memory of this process.

Every page of the map that a process looks at is added to its resident size, and the kernel adds the neighbours, so one
pass over a table makes the whole file resident. The pages stay in the page cache either way; this only gives up the
process's own mapping of them, which the next look restores for about a microsecond (madvise(2), MADV_DONTNEED: safe for
a shared mapping of a file).
"""

from __future__ import annotations

import os

_MADV_DONTNEED = 4
_WORTH_IT = 256 << 20  # bytes: a smaller file may stay resident as a whole


class Residency:
    """Gives up the map of one database file now and then: call `tick` once for each row of a scan."""

    __slots__ = ("_every", "_ranges", "_ticks", "_unmap")

    def __init__(self, database: str, every: int = 50_000, worth: int = _WORTH_IT) -> None:
        """``database`` is the environment's directory; ``every`` so many rows the pages are given up.

        A file of fewer bytes than ``worth`` may stay resident.
        """
        file = os.path.realpath(f"{database}/data.mdb")
        self._every = every
        self._ticks = 0
        self._ranges: list[tuple[int, int]] = []
        if os.stat(file).st_size >= worth:
            self._ranges = _mappings(file)
        if self._ranges:
            import ctypes  # noqa: PLC0415  4 ms, for large databases only

            madvise = ctypes.CDLL(None).madvise
            madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
            self._unmap = madvise

    def tick(self) -> None:
        """One more row was read."""
        self._ticks += 1
        if self._ticks % self._every == 0:
            for start, size in self._ranges:
                self._unmap(start, size, _MADV_DONTNEED)


def _mappings(file: str) -> list[tuple[int, int]]:
    """The address ranges at which this process maps ``file``; none where /proc does not tell."""
    found = []
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            for line in maps:
                if line.rstrip("\n").endswith(file):
                    start, _, end = line.split(" ", 1)[0].partition("-")
                    found.append((int(start, 16), int(end, 16) - int(start, 16)))
    except OSError:
        return []
    return found
