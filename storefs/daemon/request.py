"""What an operation of the daemon works with: one client's stream, its rights, and the service behind it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from storefs.api import Store
    from storefs.daemon.peer import Peer
    from storefs.daemon.service import Service
    from storefs.daemon.tunnel import Tunnel
    from storefs.formats.byte_reader import Buffer
    from storefs.formats.store_path import StoreDir, StorePath
    from storefs.protocol.wire import Reader, Writer

    Operation = Callable[["Request"], None]


@dataclass(frozen=True, slots=True)
class Request:
    """The operation that is being served, and its client."""

    reader: Reader
    tunnel: Tunnel
    service: Service
    peer: Peer
    version: int
    hangup_fd: int

    @property
    def store(self) -> Store:
        """The store that is served."""
        return self.service.store

    @property
    def directory(self) -> StoreDir:
        """The logical store directory."""
        return self.service.store.directory

    @property
    def writer(self) -> Writer:
        """Where the result goes after the work."""
        return self.tunnel.writer

    def path(self) -> StorePath:
        """Take a store path from the client."""
        return self.directory.parse(self.reader.string())

    def work(self) -> Working:
        """The request has been read; in this context messages and errors reach the client."""
        return Working(self.tunnel)

    @contextmanager
    def framed(self) -> Iterator[Iterator[Buffer]]:
        """The frames that follow (1.23 and later); whatever was not taken of them is drained, also after an error."""
        frames = self.reader.frames()
        try:
            yield frames
        finally:
            for _ in frames:
                pass


class Working:
    """Between a request and its result. A class, because a generator would take longer than most questions."""

    __slots__ = ("_tunnel",)

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    def __enter__(self) -> None:
        self._tunnel.start_work()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._tunnel.stop_work()
