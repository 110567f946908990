"""A unix socket before a daemon's: it passes everything on and keeps what clients say."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from storefs.protocol.wire import Reader
from storefs.protocol.worker_ops import CLIENT_MAGIC, MAJOR, SET_OPTIONS
from tests.relay import Relay


class RecordingSocket(Relay):
    """A context manager; one connection after the other, each until the client ends it.

    Args:
        path: where to listen.
        target: the socket of a daemon, which need not listen yet.
    """

    def __init__(self, path: Path, target: str) -> None:
        self.path = path
        self._target = target
        self._said: list[bytearray] = []
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        super().__init__(listener)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        os.unlink(self.path)

    def taken(self) -> list[bytes]:
        """Return what each connection so far has said, and forget it. Its client has ended."""
        for thread in self._threads[1:]:
            thread.join()
        del self._threads[1:]
        said, self._said = self._said, []
        return [bytes(each) for each in said]

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target)
        said = bytearray()
        self._said.append(said)
        self._start(_pass_on, client, server, said)
        self._start(_pass_on, server, client, None)


def _pass_on(source: socket.socket, target: socket.socket, keep: bytearray | None) -> None:
    try:
        while data := source.recv(65536):
            if keep is not None:
                keep += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    if keep is None:  # the daemon has ended it: nothing follows either way
        source.close()
        target.close()


def greeting(said: bytes) -> bytes:
    """Return what a client says first: its handshake (1.14 and later), and the settings that it tells if it does."""
    reader = Reader([said])
    assert reader.number() == CLIENT_MAGIC
    assert reader.number() >= MAJOR | 14
    assert reader.number() == 0
    assert reader.number() == 0
    size = 32
    if not reader.at_end() and reader.number() == SET_OPTIONS:
        for _ in range(12):
            reader.number()
        size += 8 * 14
        for _ in range(2 * reader.number()):
            size += 8 + (len(reader.data()) + 7) // 8 * 8
    return said[:size]
