"""The answering end of one connection: results, and what is told while an operation runs.

A client listens only between the request and its result: messages that come earlier are kept until then (TunnelLogger
of Nix's daemon.cc). Messages may come from several threads; results come from the one that serves the connection.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from storefs.protocol.log_fields import write_fields
from storefs.protocol.wire import Writer
from storefs.protocol.worker_ops import (
    STDERR_LAST,
    STDERR_NEXT,
    STDERR_READ,
    STDERR_RESULT,
    STDERR_START_ACTIVITY,
    STDERR_STOP_ACTIVITY,
    STDERR_WRITE,
)
from storefs.protocol.worker_values import write_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from storefs.protocol.wire import Reader

_READ_SIZE = 64 << 10
_FIRST_WITH_ACTIVITIES = 20


class Tunnel:
    """What a server says to one client.

    Args:
        reader: what comes from the client.
        send: sends bytes to it; may block; raises OSError when the client is gone.
        version: the protocol version that holds.

    Attributes:
        writer: where the result of the running operation is put together; `flush` sends it.
        working: whether the client listens to messages, and so to errors too.
        level: messages above it are not sent (logs.ERROR .. logs.VOMIT).
    """

    def __init__(self, reader: Reader, send: Callable[[bytes], object], version: int) -> None:
        self.reader = reader
        self.version = version
        self.writer = Writer()
        self.working = False
        self.level = 3
        self._send = send
        self._lock = threading.Lock()
        self._pending: list[bytes] = []

    def start_work(self) -> None:
        """The request has been read: from now on messages reach the client."""
        with self._lock:
            self.working = True
            if self._pending:
                self._send(b"".join(self._pending))
                self._pending.clear()

    def stop_work(self) -> None:
        """The operation has succeeded: its result may follow in `writer`."""
        with self._lock:
            self.working = False
            self.writer.number(STDERR_LAST)

    def fail(self, message: str, exit_code: int = 1) -> None:
        """The operation has failed."""
        with self._lock:
            self.working = False
            self.writer.take()
            write_error(self.writer, message, exit_code, self.version)
            self._send(self.writer.take())

    def flush(self) -> None:
        """Send what is in `writer`."""
        data = self.writer.take()
        if data:
            self._send(data)

    def line(self, level: int, text: str) -> None:
        """Tell the client a line of log."""
        if level <= self.level:
            self._tell(Writer().number(STDERR_NEXT).string(text + "\n"))

    def start_activity(
        self, activity: int, level: int, kind: int, text: str, fields: Iterable[int | str] = (), parent: int = 0
    ) -> None:
        """Tell the client that something begins; a client that knows no activities gets a line."""
        if self.version < _FIRST_WITH_ACTIVITIES:
            if text:
                self.line(level, text + "...")
            return
        writer = Writer().number(STDERR_START_ACTIVITY).number(activity).number(level).number(kind).string(text)
        write_fields(writer, fields)
        self._tell(writer.number(parent))

    def stop_activity(self, activity: int) -> None:
        """Tell the client that something has ended."""
        if self.version >= _FIRST_WITH_ACTIVITIES:
            self._tell(Writer().number(STDERR_STOP_ACTIVITY).number(activity))

    def result(self, activity: int, kind: int, fields: Iterable[int | str]) -> None:
        """Tell the client what came out of an activity so far."""
        if self.version >= _FIRST_WITH_ACTIVITIES:
            writer = Writer().number(STDERR_RESULT).number(activity).number(kind)
            write_fields(writer, fields)
            self._tell(writer)

    def send_data(self, data: bytes) -> None:
        """Send a piece of a stream while working (STDERR_WRITE): exports to old clients."""
        with self._lock:
            self._send(Writer().number(STDERR_WRITE).data(data).take())

    def send_raw(self, data: bytes) -> None:
        """Send a piece of a stream after `stop_work`: NARs."""
        self._send(data)

    def requested_data(self) -> Iterator[bytes]:
        """Yield a stream that the client sends piece by piece when asked (STDERR_READ): before 1.23."""
        while True:
            with self._lock:
                self._send(Writer().number(STDERR_READ).number(_READ_SIZE).take())
            piece = self.reader.data()
            if not piece:
                return
            yield piece

    def _tell(self, writer: Writer) -> None:
        data = writer.take()
        with self._lock:
            if self.working:
                self._send(data)
            else:
                self._pending.append(data)
