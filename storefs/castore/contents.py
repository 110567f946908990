"""The small contents of an addition, in memory until a transaction writes them; large ones are in the intake area.

Counts what the addition holds in memory, so that whoever takes trees in can write part of it before there is too much
(stores/staging.py).  For `castore.ingest` and the stores; used in one thread.
"""

from __future__ import annotations

import errno
import os

import cython

from storefs.castore.digest import digest_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.castore.intake_area import IntakeArea

    Buffer = bytes | memoryview

# Bytes: what a name in a tree costs without its contents, here, and in dirty pages of the transaction that writes it.
ENTRY_WEIGHT = 2 << 10
# Bytes. While as much is being written, and as much waits for the disk to have its files, as much may wait to be; with
# pages and the program itself that is below 100 MB, also where the writing threads get little of the processor. With
# half of it there are twice the transactions, which write a twentieth more.
ROOM = 10 << 20
_AT_ONCE = 512  # pieces of one writev(2), which takes 1024


class Contents:
    """See the module.  ``weight`` is about how many bytes the addition takes in memory, ``room`` how many it may."""

    __slots__ = ("_area", "_aside", "_inline_limit", "_memory", "_places", "room", "weight")

    def __init__(self, area: Callable[[], IntakeArea], inline_limit: int) -> None:
        """``area`` gives the intake area, which is made only when something needs it."""
        self._area = area
        self._inline_limit = inline_limit
        self.room = ROOM
        self._memory: dict[bytes, bytes] = {}
        self._places: dict[bytes, tuple[int, int]] = {}  # where contents that were set aside begin and end
        self._aside: _Aside | None = None
        self.weight = 0

    def add(self, content: bytes) -> bytes:
        """Keep a whole file's contents and return their digest."""
        digest = digest_bytes(content)
        size = len(content)
        if size > self._inline_limit:
            self._area().put(digest, content)
        elif digest not in self._memory:
            self._memory[digest] = content
            self.weight += size
        return digest

    def is_inline(self, size: cython.Py_ssize_t) -> bool:
        """Whether contents of this size live in the database."""
        return bool(size <= self._inline_limit)

    def inline(self, digest: bytes) -> Buffer:
        """Small contents that were added."""
        if self._aside is None:
            return self._memory[digest]
        start, end = self._places[digest]
        return self._aside.view()[start:end]

    def set_aside(self, path: str) -> None:
        """Have what was handed over wait in a file, called ``path`` for a moment: outside of this process's memory.

        Where there is no room for it, nothing changes.  Nothing is added any more.
        """
        end = 0
        for digest, content in self._memory.items():
            start = end
            end += len(content)
            self._places[digest] = (start, end)
        try:
            self._aside = _Aside(path, list(self._memory.values()), end)
        except OSError:
            return
        self._memory = {}

    def hand_over(self) -> Contents:
        """Return everything so far, for who writes it; this one begins anew."""
        full: Contents = Contents(self._area, self._inline_limit)
        full._memory, self._memory = self._memory, {}
        full._aside, self._aside = self._aside, None
        full._places, self._places = self._places, {}
        self.weight = 0
        return full


class _Aside:
    """A file without a name, which is mapped when somebody looks at it."""

    __slots__ = ("_fd", "_size", "_view")

    def __init__(self, path: str, pieces: list[bytes], size: int) -> None:
        self._size = size
        self._view: memoryview | None = None
        self._fd = -1
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        left = size
        for first in range(0, len(pieces), _AT_ONCE):
            left -= os.writev(self._fd, pieces[first : first + _AT_ONCE])
        if left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def view(self) -> memoryview:
        if self._view is None:
            import mmap  # noqa: PLC0415  large additions only

            self._view = memoryview(mmap.mmap(self._fd, self._size, prot=mmap.PROT_READ) if self._size else b"")
        return self._view
