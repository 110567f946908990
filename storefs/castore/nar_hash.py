"""The SHA-256 of a NAR that goes by in pieces, most of them small: joined, and hashed beside the one who reads.

For castore/ingest.py; used in one thread, and compiled with it.
"""

from __future__ import annotations

from storefs.castore.side_thread import SideThread
from storefs.formats.hashes import Hash, new_hashlib
from storefs.formats.nar import ENTRY_CLOSES, ENTRY_OPENS, EXECUTABLE_OPENS, REGULAR_OPENS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Buffer = bytes | bytearray | memoryview

BATCH = 256 << 10  # bytes: pieces of the NAR are joined to this size, so that hashing releases the interpreter lock
LARGE = 64 << 10  # bytes: such a piece is hashed and written as it is
THREAD_PAYS = 16 << 20  # bytes of NAR before another thread is worth its start; smaller ones come many at a time
_AROUND_FILE = 176  # bytes of NAR for each file of a directory, besides its name and its contents


class NarHash:
    """SHA-256 of the NAR as it goes by, and what else wants to see it; of a large one on a thread for each."""

    def __init__(self, sink: Callable[[Buffer], object] | None) -> None:
        self.size = 0
        self._hash = new_hashlib("sha256")
        self._looks: list[Callable[[Buffer], object]] = [self._hash.update]
        if sink is not None:
            self._looks.append(sink)
        self._pending: list[Buffer] = []
        self._pending_size = 0
        self._threads: list[SideThread] = []

    def add(self, piece: Buffer) -> None:
        """Add what comes next."""
        if len(piece) >= LARGE:
            self._flush()
            self._feed(piece)
            return
        self._pending.append(kept(piece))
        self._pending_size += len(piece)
        if self._pending_size >= BATCH:
            self._flush()

    def add_file(self, name: bytes, executable: bool, content: bytes) -> None:
        """Add a file of a directory at once: most of a tree is that."""
        size = len(content)
        opens = EXECUTABLE_OPENS if executable else REGULAR_OPENS
        length = len(name)
        self._pending += (
            ENTRY_OPENS[length], name, opens[length & 7], size.to_bytes(8, "little"), content, ENTRY_CLOSES[size & 7],
        )  # fmt: skip
        self._pending_size += size + length + _AROUND_FILE
        if self._pending_size >= BATCH:
            self._flush()

    def finish(self) -> tuple[Hash, int]:
        """The hash and how many bytes were added; raises what the sink raised."""
        self._flush()
        while self._threads:
            self._threads.pop().finish()
        return Hash("sha256", self._hash.digest()), self.size

    def abort(self) -> None:
        """End the threads, if there are any, whatever happened."""
        while self._threads:
            self._threads.pop().abort()

    def _flush(self) -> None:
        if not self._pending:
            return
        batch = b"".join(self._pending)
        self._pending.clear()
        self._pending_size = 0
        self._feed(batch)

    def _feed(self, batch: Buffer) -> None:
        self.size += len(batch)
        if not self._threads and self.size >= THREAD_PAYS:
            for look in self._looks:
                self._threads.append(SideThread(look))
        if not self._threads:
            for look in self._looks:
                look(batch)
            return
        batch = kept(batch)
        for thread in self._threads:
            thread.put(batch)


def kept(piece: Buffer) -> Buffer:
    """A piece that stays what it is: whoever gave a view of a buffer may use that again."""
    return piece if isinstance(piece, bytes) or (isinstance(piece, memoryview) and piece.readonly) else bytes(piece)
