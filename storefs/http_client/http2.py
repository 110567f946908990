"""HTTP/2 from a client's side, sans-I/O, on the `h2` library: the same shape as `http1.Http1`, many exchanges at once.

Only spoken where a TLS server chose it (ALPN). Imported by `connection.py` when that happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.http_client.messages import Exchange

_WINDOW = 8 << 20  # bytes in flight per stream; h2's own 64 KiB would cap a stream at 640 KB/s over 100 ms


class Http2:
    """The protocol on one connection; attributes as in `Http1`."""

    multiplexes = True

    __slots__ = ("_connection", "_exchanges", "_limit", "out", "reusable")

    def __init__(self) -> None:
        self._connection = H2Connection(H2Configuration(client_side=True, header_encoding="latin-1"))
        self._connection.initiate_connection()
        self._connection.update_settings({SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW})
        self._connection.increment_flow_control_window(_WINDOW)
        self._exchanges: dict[int, Exchange] = {}
        self._limit = 100  # until the server states its own
        self.out = bytearray()
        self.reusable = True
        self._flush()

    @property
    def room(self) -> int:
        """How many more exchanges can be started now."""
        return max(self._limit - len(self._exchanges), 0) if self.reusable else 0

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._exchanges)

    def start(self, exchange: Exchange) -> None:
        """Send a request."""
        url = exchange.url
        stream = self._connection.get_next_available_stream_id()
        headers = [
            (":method", exchange.method),
            (":scheme", url.scheme),
            (":authority", url.authority),
            (":path", url.target),
            *exchange.headers.items(),
        ]
        if isinstance(exchange.body, bytes):
            headers.append(("content-length", str(len(exchange.body))))
            exchange.body = iter((exchange.body,))
        self._connection.send_headers(stream, headers, end_stream=exchange.body is None)
        self._exchanges[stream] = exchange
        self._flush()
        self.refill()

    def refill(self) -> None:
        """Send as much of the requests' bodies as flow control allows."""
        if len(self.out) > 1 << 16:
            return
        for stream, exchange in list(self._exchanges.items()):
            while exchange.body is not None and not isinstance(exchange.body, bytes):
                room = self._connection.local_flow_control_window(stream)
                if room <= 0 or len(self.out) > 1 << 18:
                    break
                piece = next(exchange.body, None)
                if piece is None:
                    exchange.body = None
                    self._connection.end_stream(stream)
                    break
                fits = min(room, self._connection.max_outbound_frame_size)
                if len(piece) > fits:
                    exchange.body = _with_first(piece[fits:], exchange.body)
                    piece = piece[:fits]
                self._connection.send_data(stream, piece)
                self._flush()
        self._flush()

    def receive(self, data: bytes) -> None:
        """Take bytes that came."""
        try:
            for event in self._connection.receive_data(data):
                self._take(event)
        except ProtocolError as error:
            self._fail_all(f"malformed HTTP/2: {error}")
        self._flush()

    def end(self) -> None:
        """Take note that the server closed the connection."""
        self._fail_all("the server closed the connection early")

    def _take(self, event: Event) -> None:
        if isinstance(event, RemoteSettingsChanged):
            changed = event.changed_settings.get(SettingCodes.MAX_CONCURRENT_STREAMS)
            if changed is not None:
                self._limit = min(changed.new_value, 1000)
            return
        if isinstance(event, ConnectionTerminated):
            self.reusable = False
            if event.error_code != ErrorCodes.NO_ERROR:
                self._fail_all("the server gave the connection up")
            return
        stream = getattr(event, "stream_id", None)
        exchange = self._exchanges.get(stream) if stream is not None else None
        if exchange is None or stream is None:
            return
        if isinstance(event, ResponseReceived):
            headers: dict[str, str] = {}
            for raw_name, raw_value in event.headers or ():
                name, value = _text(raw_name), _text(raw_value)
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            exchange.status = int(headers.pop(":status", "0"))
            exchange.answer = headers
        elif isinstance(event, DataReceived):
            exchange.pieces.append(bytes(event.data or b""))
            exchange.received += len(event.data or b"")
            self._connection.acknowledge_received_data(event.flow_controlled_length or 0, stream)
        elif isinstance(event, StreamEnded):
            exchange.done = True
            del self._exchanges[stream]
        elif isinstance(event, StreamReset):
            exchange.fail("the server reset the stream")
            del self._exchanges[stream]

    def _fail_all(self, reason: str) -> None:
        self.reusable = False
        for exchange in self._exchanges.values():
            exchange.fail(reason)
        self._exchanges.clear()

    def _flush(self) -> None:
        self.out += self._connection.data_to_send()


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _with_first(piece: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield piece
    yield from rest
