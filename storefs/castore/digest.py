"""BLAKE3, which names contents: the only importer of blake3.

Not the hash that users see (SHA-256, `storefs.formats.hashes`): this one finds equal contents, at several GB/s.
"""

from __future__ import annotations

from blake3 import blake3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Buffer = bytes | bytearray | memoryview

DIGEST_SIZE = 32

# Below this one thread is faster than waking others (measured; the same threshold is in BLAKE3's own documentation).
_THREADS_PAY = 1 << 20


def digest_bytes(content: Buffer) -> bytes:
    """The 32-byte BLAKE3 digest of ``content``."""
    if len(content) < _THREADS_PAY:
        return bytes(blake3(content).digest())
    return bytes(blake3(content, max_threads=blake3.AUTO).digest())


class Digester:
    """The digest of a stream.  Not thread-safe."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = blake3()

    def update(self, data: Buffer) -> None:
        """Add the next piece; releases the interpreter lock while it works on a large one."""
        self._state.update(data)

    def finish(self) -> bytes:
        """The digest of everything so far."""
        return bytes(self._state.digest())


def digest_pieces(pieces: Iterable[Buffer]) -> bytes:
    """The digest of the concatenation of ``pieces``."""
    state = Digester()
    for piece in pieces:
        state.update(piece)
    return state.finish()
