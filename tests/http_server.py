"""A small real HTTP/1.1 server for tests: serves files from a dictionary, keeps a log, misbehaves on order.

One thread a connection, keep-alive, ranges. `faults` maps a target (or `*`) to what goes wrong there; see `Fault`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Fault:
    """What goes wrong with a request.

    Attributes:
        status: answered instead of the file.
        times: how often; -1 for ever.
        headers: added to the answer.
        cut: the connection is closed after so many bytes of the body.
        silent: nothing is ever answered.
        delay: seconds before the answer.
        raw: sent instead of an answer, then the connection is closed.
        drip: the body comes one byte at a time, with so many seconds between.
        drip_head: the same for the head.
        endless: the body is repeated until the client goes.
        no_range: ranges are ignored.
    """

    status: int = 0
    times: int = -1
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = -1
    silent: bool = False
    delay: float = 0.0
    raw: bytes | None = None
    drip: float = 0.0
    drip_head: float = 0.0
    endless: bool = False
    no_range: bool = False


class HttpServer:
    """Listens on 127.0.0.1 from the moment it is made; a context manager that stops it.

    Attributes:
        files: target -> content, served with 200; others are 404. A callable is called with the target.
        faults: target -> Fault.
        log: (method, target, headers) of every request.
        uploads: target -> body of every PUT.
        most_at_once: the largest number of requests that were being answered at one time.
        connections: how many were accepted.
        room: how many connections are served at once; others are closed as soon as they are accepted.
    """

    def __init__(self, files: dict[str, bytes] | None = None, *, delay: float = 0.0,
                 tls: ssl.SSLContext | None = None, port: int = 0) -> None:  # fmt: skip
        self.files: dict[str, bytes] = files or {}
        self.find: Callable[[str], bytes | None] = self.files.get
        self.faults: dict[str, Fault] = {}
        self.log: list[tuple[str, str, dict[str, str]]] = []
        self.uploads: dict[str, bytes] = {}
        self.most_at_once = 0
        self.connections = 0
        self.room = 1 << 30
        self.delay = delay
        self._tls = tls
        self._active = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> HttpServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    @property
    def targets(self) -> list[str]:
        """The targets of all requests, in order."""
        return [target for _, target, _ in self.log]

    def drop_connections(self) -> None:
        """Close every open connection from the server's side."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                if len(self._open) >= self.room:
                    sock.close()
                    continue
                self._open.add(sock)
                thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
                self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        sock = plain
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._open.discard(plain)
                    self._open.add(sock)
            with sock.makefile("rb") as reader:
                while self._one(sock, reader):  # type: ignore[arg-type]
                    pass
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _one(self, sock: socket.socket, reader: socket.SocketIO) -> bool:
        first = reader.readline().decode("latin-1").split()
        if len(first) != 3:
            return False
        method, target, _ = first
        headers: dict[str, str] = {}
        while line := reader.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = self._body(reader, headers)
        with self._lock:
            self.log.append((method, target, headers))
            self._active += 1
            self.most_at_once = max(self.most_at_once, self._active)
        try:
            return self._answer(sock, method, target, headers, body)
        finally:
            with self._lock:
                self._active -= 1

    def _body(self, reader: socket.SocketIO, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            pieces = []
            while size := int(reader.readline(), 16):
                pieces.append(reader.read(size))
                reader.readline()
            reader.readline()
            return b"".join(pieces)  # type: ignore[arg-type]
        return reader.read(int(headers.get("content-length", "0"))) or b""

    def _answer(self, sock: socket.socket, method: str, target: str, headers: dict[str, str], body: bytes) -> bool:
        fault = self.faults.get(target) or self.faults.get("*") or Fault(times=0)
        if fault.times == 0:
            fault = Fault()
        elif fault.times > 0:
            fault.times -= 1
        if self._stop.wait(fault.delay or self.delay) or fault.silent:
            self._stop.wait()
            return False
        if fault.raw is not None:
            sock.sendall(fault.raw)
            return False
        if fault.status:
            return self._send(sock, method, fault.status, b"", fault)
        if method == "PUT":
            self.uploads[target] = body
            self.files[target] = body
            return self._send(sock, method, 201, b"", fault)
        content = self.find(target)
        if content is None:
            return self._send(sock, method, 404, b"not here", fault)
        asked = headers.get("range", "")
        if asked.startswith("bytes=") and asked.endswith("-") and not fault.no_range:
            start = int(asked[6:-1])
            fault.headers = {**fault.headers, "content-range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            return self._send(sock, method, 206, content[start:], fault)
        return self._send(sock, method, 200, content, fault)

    def _send(self, sock: socket.socket, method: str, status: int, body: bytes, fault: Fault) -> bool:
        lines = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in fault.headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        if method == "HEAD":
            body = b""
        if fault.cut >= 0:
            sock.sendall(head + body[: fault.cut])
            return False
        if fault.drip_head and not self._drip(sock, head, fault.drip_head):
            return False
        if fault.endless:
            sock.sendall(f"HTTP/1.1 {status} x\r\n\r\n".encode())
            while not self._stop.is_set():
                sock.sendall(body)
            return False
        if fault.drip:
            sock.sendall(head)
            return self._drip(sock, body, fault.drip)
        sock.sendall(head + body)
        return True

    def _drip(self, sock: socket.socket, data: bytes, pause: float) -> bool:
        for at in range(len(data)):
            if self._stop.wait(pause):
                return False
            sock.sendall(data[at : at + 1])
        return True
