"""Connections to a daemon: how they are opened, lent to one operation at a time, and given up when they break.

Imports neither `socket` nor trio, because asking a daemon one question must cost no more than asking the database.
"""

from __future__ import annotations

import _socket
import os

from storefs import logs
from storefs.errors import StoreError
from storefs.protocol.connection import ClientConnection, Events
from storefs.protocol.wire import Reader, Writer
from storefs.protocol.worker_ops import SET_OPTIONS
from storefs.protocol.worker_values import RemoteError, write_options, write_path_info

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StoreDir
    from storefs.protocol.worker_values import ClientOptions

    # What arrives, a function that sends, and one that closes.
    Channel = tuple[Iterable[bytes], Callable[[bytes], object], Callable[[], object]]

_RECEIVE = 64 << 10
_LONGEST_SOCKET_NAME = 107  # bytes: sun_path without its NUL, unix(7)


class DaemonUnreachableError(StoreError):
    """Nobody answers where the daemon should be."""


class ShownLines(Events):
    """Shows the lines that a daemon says: warnings most of all."""

    def line(self, text: str) -> None:
        """See `Events`. What is worth saying has been decided by the daemon, which knows our verbosity."""
        logs.log(logs.ERROR, text)


def connect_unix(path: str) -> Channel:
    """Open a stream to the unix socket at `path`.

    Raises:
        DaemonUnreachableError: there is no socket, or nobody listens.
    """
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_NAME:
            channel.connect(path)
        else:
            # A longer one is reached through a descriptor of its directory (row D1).
            folder = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
            try:
                channel.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
            finally:
                os.close(folder)
    except OSError as error:
        channel.close()
        raise DaemonUnreachableError(f"cannot connect to daemon at '{path}': {error.strerror}") from error
    return iter(lambda: channel.recv(_RECEIVE), b""), channel.sendall, channel.close


class ConnectionPool:
    """The connections to one server. Safe for threads, because taking from a list and appending to it are atomic.

    Args:
        uri: the server's name in messages.
        connect: opens one more stream to it.
        options: what every connection tells the server first; None for nothing.
        events: hears what the server says meanwhile.
        version: the newest protocol to offer.
    """

    def __init__(
        self,
        uri: str,
        connect: Callable[[], Channel],
        options: ClientOptions | None,
        events: Events,
        version: int,
    ) -> None:
        self.uri = uri
        self._connect = connect
        self._options = options
        self._events = events
        self._version = version
        self._idle: list[tuple[ClientConnection, Callable[[], object]]] = []

    def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            self._idle.pop()[1]()

    def exchange(self) -> Exchange:
        """Return a context in which one connection belongs to the caller."""
        return Exchange(self)

    def take(self) -> tuple[ClientConnection, Callable[[], object]]:
        """Take an idle connection or open another one; with it comes the function that closes it."""
        try:
            return self._idle.pop()
        except IndexError:
            pass
        chunks, send, close = self._connect()
        try:
            connection = ClientConnection(Reader(chunks), send, self._version, self._events)
            if self._options is not None:
                connection.writer.number(SET_OPTIONS)
                write_options(connection.writer, self._options, connection.version)
                connection.finish(self._events)
        except (StoreError, OSError) as error:
            close()
            raise DaemonUnreachableError(f"cannot open connection to remote store '{self.uri}': {error}") from error
        except BaseException:
            close()
            raise
        return connection, close

    def give_back(self, connection: ClientConnection, close: Callable[[], object]) -> None:
        """Return a connection that stands between two messages."""
        self._idle.append((connection, close))


class Exchange:
    """Lends a connection for one operation. One that was left in the middle of a message is not used again."""

    __slots__ = ("_lent", "_pool")

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def __enter__(self) -> ClientConnection:
        self._lent = self._pool.take()
        return self._lent[0]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is None or isinstance(error, RemoteError):
            self._pool.give_back(*self._lent)
            return
        self._lent[1]()
        if isinstance(error, OSError):
            raise DaemonUnreachableError(
                f"the connection to remote store '{self._pool.uri}' broke: {error.strerror}"
            ) from error


def one_after_the_other(additions: Sequence[tuple[PathInfo, Iterable[bytes]]], directory: StoreDir) -> Iterator[bytes]:
    """What ADD_MULTIPLE_TO_STORE carries: how many, then each path's information and NAR."""
    writer = Writer().number(len(additions))
    for info, chunks in additions:
        write_path_info(writer, info, 16, directory, with_path=True)
        yield writer.take()
        yield from chunks
