"""Virtual networks between machines: a learning switch that QEMU's `stream` network back end connects to.

Frames travel over unix sockets, each behind its length as a 32-bit big-endian number (QEMU's net/stream.c).
"""

from __future__ import annotations

import selectors
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Switch:
    """One VLAN. Runs in a thread of its own until `close`.

    Args:
        path: where its socket is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._wake_read, self._wake_write = socket.socketpair()
        self._ports: dict[socket.socket, bytes] = {}
        self._learnt: dict[bytes, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="switch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the network and remove its socket."""
        self._wake_write.send(b"x")
        self._thread.join()
        for channel in (self._listener, self._wake_read, self._wake_write, *self._ports):
            channel.close()
        self._selector.close()
        self.path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                channel = key.fileobj
                assert isinstance(channel, socket.socket)
                if channel is self._wake_read:
                    return
                if channel is self._listener:
                    port = self._listener.accept()[0]
                    self._ports[port] = b""
                    self._selector.register(port, selectors.EVENT_READ)
                else:
                    self._receive(channel)

    def _receive(self, port: socket.socket) -> None:
        try:
            data = port.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            self._unplug(port)
            return
        data = self._ports[port] + data
        start = 0
        while len(data) - start >= 4:
            end = start + 4 + int.from_bytes(data[start : start + 4], "big")
            if end > len(data):
                break
            self._forward(port, data[start:end])
            start = end
        if port in self._ports:
            self._ports[port] = data[start:]

    def _forward(self, source: socket.socket, frame: bytes) -> None:
        self.frames += 1
        target, sender = frame[4:10], frame[10:16]
        self._learnt[sender] = source
        known = self._learnt.get(target)
        for port in [known] if known in self._ports and not target[0] & 1 else list(self._ports):
            if port is not None and port is not source:
                try:
                    port.sendall(frame)
                except OSError:
                    self._unplug(port)

    def _unplug(self, port: socket.socket) -> None:
        if self._ports.pop(port, None) is not None:
            self._selector.unregister(port)
            port.close()
