"""The handshake of the worker protocol, and what is said around each operation.

Sans-I/O in the sense of `wire`: both ends work on a `Reader` and on a function that sends bytes, whatever carries
them (a socket, the pipes of ssh, a list in a test). A `ClientConnection` belongs to one thread at a time.
"""

from __future__ import annotations

from storefs.protocol.log_fields import read_fields
from storefs.protocol.wire import ProtocolError, Writer, frame
from storefs.protocol.worker_ops import (
    CLIENT_MAGIC,
    MAJOR,
    NEWEST,
    OLDEST,
    SERVER_MAGIC,
    STDERR_ERROR,
    STDERR_LAST,
    STDERR_NEXT,
    STDERR_READ,
    STDERR_RESULT,
    STDERR_START_ACTIVITY,
    STDERR_STOP_ACTIVITY,
    STDERR_WRITE,
)
from storefs.protocol.worker_values import read_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from storefs.protocol.wire import Reader

    Fields = list[int | str]

_FRAME_SIZE = 64 << 10


class Events:
    """What a server tells while it works. This base class ignores everything; override what is wanted.

    Activities and results are numbered as in Nix's logging.hh.
    """

    def line(self, text: str) -> None:
        """A line of log, without its end."""

    def start(self, activity: int, level: int, kind: int, text: str, fields: Fields, parent: int) -> None:
        """An activity begins."""

    def stop(self, activity: int) -> None:
        """An activity has ended."""

    def result(self, activity: int, kind: int, fields: Fields) -> None:
        """Something came out of an activity: a line of a builder's output, progress."""


class ClientConnection:
    """The asking end of one connection.

    Args:
        reader: what comes from the server.
        send: sends bytes to it; may block; raises OSError when the server is gone.
        version: the newest protocol to offer.

    Raises:
        ProtocolError: the other side does not speak the protocol, or only versions before 1.10.
    """

    __slots__ = ("nix_version", "reader", "send", "trusted", "version", "writer")

    def __init__(
        self, reader: Reader, send: Callable[[bytes], object], version: int = NEWEST, events: Events | None = None
    ) -> None:
        self.reader = reader
        self.send = send
        self.writer = Writer()
        self.nix_version = ""
        self.trusted: bool | None = None
        writer = self.writer
        send(writer.number(CLIENT_MAGIC).take())
        if reader.number() != SERVER_MAGIC:
            raise ProtocolError("protocol mismatch: this is no Nix daemon")
        theirs = reader.number()
        if theirs & 0xFF00 != MAJOR:
            raise ProtocolError("Nix daemon protocol version not supported")
        if theirs & 0xFF < OLDEST:
            raise ProtocolError("the Nix daemon version is too old")
        self.version = min(theirs & 0xFF, version)
        writer.number(MAJOR | self.version)
        if self.version >= 14:
            writer.number(0)  # no CPU affinity
        if self.version >= 11:
            writer.number(0)  # no reserved space
        send(writer.take())
        if self.version >= 33:
            self.nix_version = reader.string()
        if self.version >= 35:
            self.trusted = {1: True, 2: False}.get(reader.number())
        self.finish(events or Events())

    def finish(
        self,
        events: Events,
        source: Iterable[bytes] | None = None,
        sink: Callable[[bytes], object] | None = None,
    ) -> None:
        """Send what was written, and pass on what the server says until the operation has ended.

        Args:
            events: hears what the server tells.
            source: bytes for a server that asks for them (STDERR_READ).
            sink: takes bytes from a server that sends them (STDERR_WRITE).

        Raises:
            RemoteError: the operation failed; the connection remains usable.
            ProtocolError: the server broke off or spoke nonsense; the connection is of no more use.
        """
        pending = self.writer.take()
        if pending:
            self.send(pending)
        pieces = _Pieces(source or ())
        reader = self.reader
        while True:
            message = reader.number()
            if message == STDERR_LAST:
                return
            if message == STDERR_ERROR:
                raise read_error(reader, self.version)
            if message == STDERR_NEXT:
                events.line(reader.string().rstrip("\n"))
            elif message == STDERR_START_ACTIVITY:
                activity, level, kind = reader.number(), reader.number(), reader.number()
                text, fields = reader.string(), read_fields(reader)
                events.start(activity, level, kind, text, fields, reader.number())
            elif message == STDERR_STOP_ACTIVITY:
                events.stop(reader.number())
            elif message == STDERR_RESULT:
                activity, kind = reader.number(), reader.number()
                events.result(activity, kind, read_fields(reader))
            elif message == STDERR_READ and source is not None:
                self.send(Writer().data(pieces.take(reader.number())).take())
            elif message == STDERR_WRITE and sink is not None:
                sink(reader.data())
            else:
                raise ProtocolError(f"got unknown message type {message:x} from Nix daemon")

    def send_framed(self, chunks: Iterable[bytes]) -> None:
        """Send what was written, then `chunks` as a framed transfer (1.23 and later); `finish` must follow."""
        pending = [self.writer.take()]
        size = 0
        for chunk in chunks:
            if not chunk:
                continue
            pending.append(frame(chunk))
            size += len(chunk)
            if size >= _FRAME_SIZE:
                self.send(b"".join(pending))
                pending.clear()
                size = 0
        pending.append(frame(b""))
        self.send(b"".join(pending))


class _Pieces:
    """Cuts a stream of chunks into the sizes that a server asks for."""

    __slots__ = ("_chunks", "_rest")

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def take(self, size: int) -> bytes:
        """Return at most `size` bytes, none only at the end."""
        if not self._rest:
            self._rest = next(self._chunks, b"")
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


def accept_client(
    reader: Reader, send: Callable[[bytes], object], *, nix_version: str, trusted: bool | None, version: int = NEWEST
) -> int:
    """Do the answering side of the handshake and return the protocol version that holds.

    The caller ends it with `STDERR_LAST` (or an error) once it has found the client welcome.

    Raises:
        ProtocolError: the client does not speak the protocol, or only versions before 1.10.
    """
    if reader.number() != CLIENT_MAGIC:
        raise ProtocolError("protocol mismatch")
    writer = Writer()
    send(writer.number(SERVER_MAGIC).number(MAJOR | version).take())
    theirs = reader.number()
    if theirs & 0xFF00 != MAJOR or theirs & 0xFF < OLDEST:
        raise ProtocolError("the Nix client version is too old")
    version = min(theirs & 0xFF, version)
    if version >= 14 and reader.number():
        reader.number()  # CPU affinity, of no meaning any more
    if version >= 11:
        reader.number()  # reserved space, likewise
    if version >= 33:
        writer.string(nix_version)
    if version >= 35:
        writer.number({None: 0, True: 1, False: 2}[trusted])
    data = writer.take()
    if data:
        send(data)
    return version
