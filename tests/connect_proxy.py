"""A small real proxy for tests: it passes on what is inside a tunnel."""

from __future__ import annotations

import socket

from tests.relay import Relay


class ConnectProxy(Relay):
    """A proxy that only knows CONNECT; a context manager.

    Attributes:
        asked: the heads of the requests it got.
        refuse: answers 403 instead.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refuse = False
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://user:word@127.0.0.1:{listener.getsockname()[1]}"
        super().__init__(listener)

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.asked.append(head.decode())
        if self.refuse:
            client.sendall(b"HTTP/1.1 403 No\r\n\r\n")
            client.close()
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        server = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self._start(self._pump, client, server)
        self._start(self._pump, server, client)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        target.close()
