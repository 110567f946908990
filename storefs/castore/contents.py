"""The small contents of an addition, in memory until a transaction writes them; large ones are in the intake area.

Counts what the addition holds in memory, so that whoever takes trees in can write part of it before there is too much
(stores/staging.py).  For `castore.ingest` and the stores; used in one thread.
"""

from __future__ import annotations

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


class Contents:
    """See the module.  ``weight`` is about how many bytes the addition takes in memory, ``room`` how many it may."""

    __slots__ = ("_area", "_inline_limit", "_memory", "room", "weight")

    def __init__(self, area: Callable[[], IntakeArea], inline_limit: int) -> None:
        """``area`` gives the intake area, which is made only when something needs it."""
        self._area = area
        self._inline_limit = inline_limit
        self.room = ROOM
        self._memory: dict[bytes, bytes] = {}
        self.weight = 0

    def add(self, content: bytes) -> bytes:
        """Keep a whole file's contents and return their digest."""
        digest = digest_bytes(content)
        if self.is_inline(len(content)):
            self.keep(digest, content)
        else:
            self._area().put(digest, content)
        return digest

    def keep(self, digest: bytes, content: Buffer) -> None:
        """Keep small contents whose digest is known; a view is copied if they are new."""
        if digest not in self._memory:
            self._memory[digest] = bytes(content)
            self.weight += len(content)

    @property
    def inline_limit(self) -> int:
        """The size, in bytes, of the largest contents that live in the database."""
        return self._inline_limit

    def is_inline(self, size: int) -> bool:
        """Whether contents of this size live in the database."""
        return size <= self._inline_limit

    def inline(self, digest: bytes) -> bytes:
        """Small contents that were added."""
        return self._memory[digest]

    def hand_over(self) -> Contents:
        """Return everything so far, for who writes it; this one begins anew."""
        full = Contents(self._area, self._inline_limit)
        full._memory, self._memory = self._memory, {}
        self.weight = 0
        return full
