"""HTTP/1.1 from a client's side, sans-I/O (RFC 9112): bytes to send pile up in `out`, bytes that came go to `receive`.

One exchange at a time; nothing is pipelined. Strict about framing, because a length that is read differently by two
parties is how answers get mixed up.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.http_client.messages import Exchange

_MAX_HEAD = 64 << 10

_HEAD, _LENGTH, _CHUNK_SIZE, _CHUNK, _CHUNK_END, _TRAILER, _UNTIL_END = range(7)


class Http1:
    """The protocol on one connection.

    Args:
        absolute: requests name the whole URL, as a proxy for plain http wants it.

    Attributes:
        out: what is to be sent.
        reusable: another exchange may follow on this connection.
    """

    multiplexes = False

    __slots__ = ("_absolute", "_buffer", "_exchange", "_left", "_state", "out", "reusable")

    def __init__(self, absolute: bool = False) -> None:
        self.out = bytearray()
        self.reusable = True
        self._absolute = absolute
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._left = 0
        self._state = _HEAD

    @property
    def room(self) -> int:
        """How many more exchanges can be started now."""
        return 1 if self._exchange is None and self.reusable else 0

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._exchange is not None

    def start(self, exchange: Exchange) -> None:
        """Send a request."""
        self._exchange = exchange
        self._state = _HEAD
        self._buffer = b""
        url = exchange.url
        lines = [
            f"{exchange.method} {url.text if self._absolute else url.target} HTTP/1.1",
            f"host: {url.authority}",
            *(f"{name}: {value}" for name, value in exchange.headers.items()),
        ]
        if isinstance(exchange.body, bytes):
            lines.append(f"content-length: {len(exchange.body)}")
        self.out += ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        if isinstance(exchange.body, bytes):
            self.out += exchange.body
            exchange.body = None

    def refill(self) -> None:
        """Take the next piece of the request's body when everything before it has been sent."""
        exchange = self._exchange
        if exchange is not None and exchange.body is not None and not self.out and not isinstance(exchange.body, bytes):
            piece = next(exchange.body, None)
            if piece is None:
                exchange.body = None
            else:
                self.out += piece

    def receive(self, data: bytes) -> None:
        """Take bytes that came; violations fail the exchange and make the connection useless."""
        if self._exchange is None:
            self.reusable = False  # an answer that nobody asked for
            return
        while self._exchange is not None and (data or self._state == _HEAD):
            before = self._state, len(data)
            try:
                data = self._step(self._exchange, data)
            except ValueError as error:
                self._fail(f"malformed answer: {error}")
                return
            if not data or (self._state, len(data)) == before:
                break
        if data and self._exchange is None:
            self.reusable = False

    def end(self) -> None:
        """Take note that the server closed the connection."""
        exchange = self._exchange
        self.reusable = False
        if exchange is None:
            return
        if self._state == _UNTIL_END:
            self._finish(exchange)
        else:
            self._fail("the server closed the connection early")

    def _fail(self, reason: str) -> None:
        self.reusable = False
        if self._exchange is not None:
            self._exchange.fail(reason)
            self._exchange = None

    def _finish(self, exchange: Exchange) -> None:
        exchange.done = True
        if exchange.body is not None or self.out:
            self.reusable = False  # answered before everything was sent
        self._exchange = None
        self._state = _HEAD

    def _step(self, exchange: Exchange, data: bytes) -> bytes:
        state = self._state
        if state in (_LENGTH, _CHUNK):
            piece, data = data[: self._left], data[self._left :]
            exchange.pieces.append(piece)
            exchange.received += len(piece)
            self._left -= len(piece)
            if not self._left:
                if state == _LENGTH:
                    self._finish(exchange)
                else:
                    self._state = _CHUNK_END
            return data
        if state == _UNTIL_END:
            exchange.pieces.append(data)
            exchange.received += len(data)
            return b""
        if state == _HEAD:
            buffer = self._buffer + data
            head, mark, rest = buffer.partition(b"\r\n\r\n")
            if len(head) > _MAX_HEAD:
                raise ValueError("its head is too long")
            if not mark:
                self._buffer = buffer
                return b""
            self._buffer = b""
            self._take_head(exchange, head.decode("latin-1"))
            return rest
        # What remains are lines: chunk sizes, the end of a chunk, trailers.
        line, mark, rest = (self._buffer + data).partition(b"\r\n")
        if len(line) > _MAX_HEAD:
            raise ValueError("a line is too long")
        if not mark:
            self._buffer += data
            return b""
        self._buffer = b""
        if state == _CHUNK_END:
            if line:
                raise ValueError("a chunk is longer than it said")
            self._state = _CHUNK_SIZE
        elif state == _CHUNK_SIZE:
            digits = line.partition(b";")[0].strip()
            if not digits or digits.strip(b"0123456789abcdefABCDEF") or len(digits) > 15:
                raise ValueError("a chunk has no size")
            self._left = int(digits, 16)
            self._state = _CHUNK if self._left else _TRAILER
        elif not line:
            self._finish(exchange)
        return rest

    def _take_head(self, exchange: Exchange, head: str) -> None:
        first, *lines = head.split("\r\n")
        version, _, status_text = first.partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or not status_text[:3].isdigit():
            raise ValueError("it is not HTTP")
        status = int(status_text[:3])
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError("a header has no colon")
            name, value = name.lower(), value.strip()
            if name == "content-length" and headers.get(name, value) != value:
                raise ValueError("it has two lengths")
            headers[name] = value if name not in headers or name == "content-length" else f"{headers[name]}, {value}"
        if 100 <= status < 200:
            return  # an interim answer; the real one follows
        exchange.status = status
        exchange.answer = headers
        keep = headers.get("connection", "").lower()
        self.reusable = keep != "close" if version == "HTTP/1.1" else keep == "keep-alive"
        coding = headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length")
        if exchange.method == "HEAD" or status in (204, 304):
            self._finish(exchange)
        elif coding:
            if coding != "chunked":
                raise ValueError(f"unknown transfer coding '{coding}'")
            self._state = _CHUNK_SIZE
        elif length is not None:
            if not (length.isascii() and length.isdigit() and len(length) < 20):
                raise ValueError("its length is no number")
            self._left = int(length)
            self._state = _LENGTH
            if not self._left:
                self._finish(exchange)
        else:
            self._state = _UNTIL_END
            self.reusable = False
