"""A small real HTTP/2 server over TLS for tests, on the h2 library; one thread a connection, many streams on it."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded, WindowUpdated
from h2.settings import SettingCodes


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1; returns the files of certificate and key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    kind = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    name = ("-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(
        ["openssl", *kind, *name, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    return certificate, key


class Http2Server:
    """Listens on 127.0.0.1; a context manager.

    Attributes:
        find: target -> content, None for 404.
        uploads: target -> body of every PUT.
        connections: how many were accepted.
        most_at_once: the largest number of streams that were open on one connection.
        streams: how many streams a client may open at once.
        authorization: what the header of that name must be; '' asks for nothing.
    """

    def __init__(self, certificate: Path, key: Path, find: Callable[[str], bytes | None], streams: int = 100) -> None:
        self.find = find
        self.uploads: dict[str, bytes] = {}
        self.connections = 0
        self.most_at_once = 0
        self.streams = streams
        self.authorization = ""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._context.set_alpn_protocols(["h2"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Http2Server:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as sock:
                self._open.append(sock)
                self._converse(sock)
        except OSError:
            plain.close()

    def _converse(self, sock: ssl.SSLSocket) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        connection.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: self.streams})
        sock.sendall(connection.data_to_send())
        requests: dict[int, tuple[str, str]] = {}
        bodies: dict[int, bytes] = {}
        pending: dict[int, bytes] = {}
        while data := sock.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    headers = dict(event.headers)  # type: ignore[arg-type]
                    known = self.authorization in ("", headers.get("authorization"))
                    requests[event.stream_id] = (str(headers[":method"]), str(headers[":path"]) if known else "")
                    bodies[event.stream_id] = b""
                    self.most_at_once = max(self.most_at_once, len(requests))
                elif isinstance(event, DataReceived):
                    bodies[event.stream_id] += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    self._answer(connection, event.stream_id, requests, bodies, pending)
                elif isinstance(event, (WindowUpdated, ConnectionTerminated)):
                    pass
            for stream in list(pending):
                self._send(connection, stream, requests, pending)
            sock.sendall(connection.data_to_send())

    def _answer(
        self,
        connection: H2Connection,
        stream: int,
        requests: dict[int, tuple[str, str]],
        bodies: dict[int, bytes],
        pending: dict[int, bytes],
    ) -> None:
        method, target = requests[stream]
        if method == "PUT":
            self.uploads[target] = bodies[stream]
        content = b"" if method == "PUT" else self.find(target) if target else None
        status = "200" if content is not None else "404" if target else "401"
        connection.send_headers(stream, [(":status", status), ("content-length", str(len(content or b"")))])
        pending[stream] = content or b""

    def _send(
        self, connection: H2Connection, stream: int, requests: dict[int, tuple[str, str]], pending: dict[int, bytes]
    ) -> None:
        content = pending[stream]
        while content and (room := connection.local_flow_control_window(stream)) > 0:
            piece = content[: min(room, connection.max_outbound_frame_size)]
            connection.send_data(stream, piece)
            content = content[len(piece) :]
        pending[stream] = content
        if not content:
            connection.end_stream(stream)
            del pending[stream], requests[stream]
