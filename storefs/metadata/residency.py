"""Keeping a scan of a large database from counting as memory of this process.

Every page of the map that a process looks at is added to its resident size, and the kernel adds the neighbours: 64 KiB,
or, since it keeps files in larger pieces, up to 2 MiB for one look. So one pass over a table, or a few hundred looks
here and there, make the whole file resident. The pages stay in the page cache either way; this only gives up the
process's own mapping of them, which the next look restores for about a microsecond (madvise(2), MADV_DONTNEED: safe for
a shared mapping of a file).

Who looks here and there says so: of a database that is not in the page cache, each look would have the kernel read the
neighbours from the disk, and a few thousand looks the whole of it (MADV_RANDOM).
"""

from __future__ import annotations

import os

_MADV_NORMAL = 0
_MADV_RANDOM = 1
_MADV_DONTNEED = 4
_WORTH_IT = 256 << 20  # bytes: a smaller file may stay resident as a whole
_PAGE = os.sysconf("SC_PAGESIZE")

# Of who looks here and there, see `scattered_looks`.
LOOKS = 8  # after so many it is looked at how much is resident
_ROOM = 8 << 20  # bytes; with twice as many, taking in 4 GB of small files has 94 MB in memory instead of 82
_MAY_STAY = 16 << 20  # bytes


class Residency:
    """Gives up the map of one database file now and then: call `tick` once for each row of a scan."""

    __slots__ = ("_advise", "_every", "_least", "_ranges", "_room", "_scattered", "_statm", "_ticks")

    def __init__(
        self,
        database: str,
        every: int = 50_000,
        worth: int = _WORTH_IT,
        room: int = 0,
        *,
        scattered: bool = False,
    ) -> None:
        """``database`` is the environment's directory; ``every`` so many rows its pages are given up.

        With ``room``, only if they are more bytes.  A file of fewer than ``worth`` may stay resident.  With
        ``scattered`` what is looked at is read from the disk without its neighbours, until `end`.
        """
        self._scattered = False
        self._statm = -1  # a descriptor
        self._every = every
        self._room = room
        self._least = 0  # bytes of files that are resident without this one
        self._ticks = 0
        self._ranges: list[tuple[int, int]] = []
        file = os.path.realpath(f"{database}/data.mdb")
        if os.stat(file).st_size >= worth:
            self._ranges = _mappings(file)
        if self._ranges:
            import ctypes  # noqa: PLC0415  4 ms, for large databases only

            # For microseconds the interpreter lock is kept: who gives it back waits long for it.
            madvise = ctypes.PyDLL(None).madvise
            madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
            self._advise = madvise
            if scattered:
                self._tell(_MADV_RANDOM)
                self._scattered = True
            if room:
                self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
                self.give_up()
                self._least = self._resident()

    def __del__(self) -> None:
        self.end()
        if self._statm >= 0:
            os.close(self._statm)

    def end(self) -> None:
        """The scan is over."""
        if self._scattered:
            self._scattered = False
            self._tell(_MADV_NORMAL)

    def tick(self, rows: int = 1) -> None:
        """One more row was read, or so many at once."""
        before = self._ticks
        self._ticks = before + rows
        if (
            before // self._every != self._ticks // self._every
            and self._ranges
            and (not self._room or self._is_large())
        ):
            self.give_up()

    def give_up(self) -> None:
        """Give up the map now."""
        self._tell(_MADV_DONTNEED)

    def _tell(self, advice: int) -> None:
        for start, size in self._ranges:
            self._advise(start, size, advice)

    def _is_large(self) -> bool:
        resident = self._resident()
        self._least = min(self._least, resident)
        return resident - self._least > self._room

    def _resident(self) -> int:
        """How many bytes of files are mapped and present, in this process."""
        return int(os.pread(self._statm, 200, 0).split()[2]) * _PAGE


def scattered_looks(database: str) -> Residency:
    """For looks here and there in a table, a `tick` after each: every few it is looked at whether too much is resident.

    A small database may stay in memory as a whole.
    """
    return Residency(database, LOOKS, _MAY_STAY, _ROOM, scattered=True)


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
