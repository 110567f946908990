"""The primitives of Nix's serialisation: 64-bit little-endian numbers, and strings padded to eight bytes.

Sans-I/O: a `Reader` takes pieces from the iterable it was given, a `Writer` only collects them. Both protocols
(worker and serve), the export format and NARs are made of these. Whoever owns the descriptor is elsewhere
(`storefs.stores.remote`, `storefs.daemon.server`). The rules are those of Nix's serialise.cc.

A hostile peer can't make a reader hold more than the limit of one string: lengths are checked before anything is
waited for, and lists grow only as their elements arrive.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.byte_reader import ByteReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from storefs.formats.byte_reader import Buffer

MAX_STRING = 64 << 20  # bytes; a derivation of this size would take minutes to write by hand
_BATCH = 256 << 10  # bytes: stays in the processor's cache, and threads change half as often as with half of it
_PADDING = (b"", b"\0" * 7, b"\0" * 6, b"\0" * 5, b"\0" * 4, b"\0" * 3, b"\0" * 2, b"\0")


class ProtocolError(StoreError):
    """The peer said something that the protocol does not allow, or stopped in the middle of a message."""


class Reader(ByteReader):
    """Takes values out of a byte stream; NARs are read from it with `storefs.formats.nar.parse_nar`.

    Every method raises UnexpectedEndError where the stream ends too early, and whatever the stream itself raises.
    """

    __slots__ = ()

    def number(self) -> int:
        """Take an unsigned 64-bit number."""
        return int.from_bytes(self.exact(8), "little")

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
        padded = self.exact((length + 7) & ~7)
        if padded[length:] != _PADDING[length & 7]:
            raise ProtocolError("non-zero padding")
        return padded[:length]

    def string(self, limit: int = MAX_STRING) -> str:
        """Take a string as text; bytes that are no UTF-8 survive as surrogates."""
        return self.data(limit).decode("utf-8", "surrogateescape")

    def byte_strings(self) -> list[bytes]:
        """Take a list of strings as bytes."""
        taken = []
        for _ in range(self.number()):
            # The loop of `data`, without its calls, as long as whole strings have arrived: closures are long lists.
            buffer, start = self._buffer, self._position + 8
            length = int.from_bytes(buffer[start - 8 : start], "little")
            end = start + length
            padded = start + (length + 7 & ~7)
            if start <= len(buffer) and padded <= len(buffer) and buffer[end:padded] == _PADDING[length & 7]:
                self._position = padded
                self.consumed += padded - start + 8
                taken.append(buffer[start:end])
            else:
                taken.append(self.data())
        return taken

    def strings(self) -> list[str]:
        """Take a list of strings."""
        return [each.decode("utf-8", "surrogateescape") for each in self.byte_strings()]

    def frames(self) -> Iterator[Buffer]:
        """Yield the contents of a framed transfer in pieces up to its end; whoever stops early must take the rest.

        A frame is a number and that many bytes without padding; one of length 0 ends the transfer (Nix's FramedSource).
        Nix's have 32 KiB; they are joined to larger pieces, because everything that follows costs something per piece.
        """
        small: list[Buffer] = []
        size = 0
        while left := self.number():
            while left:
                piece = self.some(left)
                left -= len(piece)
                small.append(piece)
                size += len(piece)
                if size >= _BATCH:
                    yield b"".join(small)
                    small.clear()
                    size = 0
            # The same without its calls, as long as whole frames have arrived: there are 32 768 to a gigabyte.
            buffer, start = self._buffer, self._position + 8
            view = memoryview(buffer)
            while (end := start + int.from_bytes(buffer[start - 8 : start], "little")) <= len(buffer) and end > start:
                small.append(view[start:end])
                size += end - start
                start = end + 8
            self.consumed += start - 8 - self._position
            self._position = start - 8
        if small:
            yield b"".join(small)


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
        self._parts.append(string_on_wire(value))
        return self

    def string(self, value: str) -> Writer:
        """Add a string of text."""
        return self.data(value.encode("utf-8", "surrogateescape"))

    def strings(self, values: Iterable[str]) -> Writer:
        """Add a list of strings, in the order given."""
        return self.byte_strings([value.encode("utf-8", "surrogateescape") for value in values])

    def byte_strings(self, values: Collection[bytes]) -> Writer:
        """Add a list of strings of bytes, in the order given."""
        self.number(len(values))
        self._parts += [len(each).to_bytes(8, "little") + each + _PADDING[len(each) & 7] for each in values]
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


def string_on_wire(value: bytes) -> bytes:
    """Return a string as it is sent: its length, its bytes, zeros."""
    return len(value).to_bytes(8, "little") + value + _PADDING[len(value) & 7]


def frame(data: bytes) -> bytes:
    """Return one frame of a framed transfer; that of b"" ends it."""
    return len(data).to_bytes(8, "little") + data
