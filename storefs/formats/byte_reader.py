"""Exact reads from a stream of pieces of any size: what the readers of binary formats stand on.

Does no I/O itself: the pieces come from an injected iterable (a file's chunks, a socket's, a NAR's) and never more of
them are asked for than the format needs, so that several objects can follow each other in one stream.  Not thread-safe.
"""

from __future__ import annotations

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Buffer = bytes | bytearray | memoryview


class UnexpectedEndError(StoreError):
    """A stream ended in the middle of an object."""

    def __init__(self) -> None:
        super().__init__("unexpected end-of-file")


class ByteReader:
    """Gives out the bytes of ``chunks`` in the sizes that the caller wants."""

    __slots__ = ("_buffer", "_chunks", "_position", "consumed")

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self._chunks = iter(chunks)
        self._buffer: bytes = b""
        self._position = 0
        self.consumed = 0

    def exact(self, size: int) -> bytes:
        """The next ``size`` bytes; raises UnexpectedEndError when the stream is shorter."""
        position = self._position
        end = position + size
        if end > len(self._buffer):
            # What is alone is not copied: a stream's chunks often begin with an object.
            pieces = [self._buffer[position:]] if position < len(self._buffer) else []
            missing = end - len(self._buffer)
            while missing > 0:
                chunk = next(self._chunks, None)
                if chunk is None:
                    raise UnexpectedEndError
                pieces.append(bytes(chunk))
                missing -= len(chunk)
            self._buffer = b"".join(pieces)
            position = 0
            end = size
        self._position = end
        self.consumed += size
        return self._buffer[position:end]

    def some(self, limit: int) -> Buffer:
        """Between one and ``limit`` bytes, whatever is at hand, without copying; ``limit`` is at least 1.

        Raises UnexpectedEndError at the end of the stream.
        """
        while self._position >= len(self._buffer):
            chunk = next(self._chunks, None)
            if chunk is None:
                raise UnexpectedEndError
            if len(chunk) <= limit:
                if len(chunk):
                    self.consumed += len(chunk)
                    return chunk
                continue
            self._buffer = bytes(chunk)
            self._position = 0
        position = self._position
        end = min(position + limit, len(self._buffer))
        self._position = end
        self.consumed += end - position
        return memoryview(self._buffer)[position:end]

    def at_end(self) -> bool:
        """Whether nothing follows; asks for a piece if none is at hand."""
        while self._position >= len(self._buffer):
            chunk = next(self._chunks, None)
            if chunk is None:
                return True
            self._buffer = bytes(chunk)
            self._position = 0
        return False
