"""The primitives of Nix's serialisation: 64-bit little-endian numbers, and strings padded to eight bytes.

Sans-I/O: a `Reader` asks the function it was given for more bytes, a `Writer` only collects them. Both protocols
(worker and serve), the export format and NARs are made of these. Whoever owns the descriptor is elsewhere
(`storefs.stores.remote`, `storefs.daemon.server`). The rules are those of Nix's serialise.cc.

A hostile peer can't make a reader hold more than the limit of one string: lengths are checked before anything is
waited for, and lists grow only as their elements arrive.
"""

from __future__ import annotations

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_STRING = 64 << 20  # bytes; a derivation of this size would take minutes to write by hand
_PADDING = (b"", b"\0" * 7, b"\0" * 6, b"\0" * 5, b"\0" * 4, b"\0" * 3, b"\0" * 2, b"\0")


class ProtocolError(StoreError):
    """The peer said something that the protocol does not allow, or stopped in the middle of a message."""


class Reader:
    """Takes values out of a byte stream.

    Args:
        more: returns the next bytes of the stream, at least one, and b"" at its end. May block; may raise OSError.
    """

    __slots__ = ("_buffer", "_more", "_position")

    def __init__(self, more: Callable[[], bytes]) -> None:
        self._more = more
        self._buffer = b""
        self._position = 0

    def buffered(self) -> int:
        """Return how many bytes have arrived and were not taken yet."""
        return len(self._buffer) - self._position

    def at_end(self) -> bool:
        """Return whether the stream ended here, between two messages. Blocks until that is known."""
        if self._position < len(self._buffer):
            return False
        self._buffer = self._more()
        self._position = 0
        return not self._buffer

    def exactly(self, count: int) -> bytes:
        """Take `count` bytes.

        Raises:
            ProtocolError: the stream ends before.
        """
        end = self._position + count
        if end <= len(self._buffer):
            data = self._buffer[self._position : end]
            self._position = end
            return data
        parts = [self._buffer[self._position :]]
        missing = count - len(parts[0])
        while True:
            piece = self._more()
            if not piece:
                self._buffer, self._position = b"", 0
                raise ProtocolError("unexpected end-of-file")
            if len(piece) >= missing:
                parts.append(piece[:missing])
                self._buffer, self._position = piece, missing
                return b"".join(parts)
            parts.append(piece)
            missing -= len(piece)

    def some(self, limit: int) -> bytes:
        """Take at least one byte and at most `limit`, as many as are there.

        Raises:
            ProtocolError: the stream has ended.
        """
        if self._position == len(self._buffer):
            self._buffer, self._position = self._more(), 0
            if not self._buffer:
                raise ProtocolError("unexpected end-of-file")
        data = self._buffer[self._position : self._position + limit]
        self._position += len(data)
        return data

    def number(self) -> int:
        """Take an unsigned 64-bit number."""
        start = self._position
        if start + 8 <= len(self._buffer):
            self._position = start + 8
            return int.from_bytes(self._buffer[start : start + 8], "little")
        return int.from_bytes(self.exactly(8), "little")

    def boolean(self) -> bool:
        """Take a number that is 0 or not."""
        return self.number() != 0

    def data(self, limit: int = MAX_STRING) -> bytes:
        """Take a string as bytes.

        Raises:
            ProtocolError: it is longer than `limit` bytes, or its padding is not zero.
        """
        length = self.number()
        if length > limit:
            raise ProtocolError(f"string of {length} bytes is longer than the {limit} that are allowed here")
        data = self.exactly(length)
        self.padding(length)
        return data

    def padding(self, length: int) -> None:
        """Take what fills a string of `length` bytes up to a multiple of eight."""
        wanted = _PADDING[length & 7]
        if wanted and self.exactly(len(wanted)) != wanted:
            raise ProtocolError("non-zero padding")

    def string(self, limit: int = MAX_STRING) -> str:
        """Take a string as text; bytes that are no UTF-8 survive as surrogates."""
        return self.data(limit).decode("utf-8", "surrogateescape")

    def strings(self) -> list[str]:
        """Take a list of strings."""
        return [self.string() for _ in range(self.number())]

    def frames(self) -> Iterator[bytes]:
        """Yield the pieces of a framed transfer up to its end; `drain_frames` must follow an early exit.

        A frame is a number and that many bytes without padding; one of length 0 ends the transfer (Nix's FramedSource).
        """
        while True:
            left = self.number()
            if not left:
                return
            while left:
                piece = self.some(left)
                left -= len(piece)
                yield piece


class Writer:
    """Collects values into bytes."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def number(self, value: int) -> Writer:
        """Add an unsigned 64-bit number."""
        self._parts.append(value.to_bytes(8, "little"))
        return self

    def boolean(self, value: bool) -> Writer:
        """Add 1 or 0."""
        return self.number(1 if value else 0)

    def data(self, value: bytes) -> Writer:
        """Add a string of bytes."""
        self._parts.append(len(value).to_bytes(8, "little") + value + _PADDING[len(value) & 7])
        return self

    def string(self, value: str) -> Writer:
        """Add a string of text."""
        return self.data(value.encode("utf-8", "surrogateescape"))

    def strings(self, values: Iterable[str]) -> Writer:
        """Add a list of strings, in the order given."""
        values = list(values)
        self.number(len(values))
        for value in values:
            self.string(value)
        return self

    def raw(self, value: bytes) -> Writer:
        """Add bytes as they are."""
        self._parts.append(value)
        return self

    def take(self) -> bytes:
        """Return everything collected so far, and start anew."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def frame(data: bytes) -> bytes:
    """Return one frame of a framed transfer; that of b"" ends it."""
    return len(data).to_bytes(8, "little") + data
