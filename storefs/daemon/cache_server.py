"""`verglas serve`: the local store as a binary cache over HTTP, streaming, signed on the fly.

A thread a connection: what limits a server of NARs is the disk and the network, and a thread that waits costs little.
Reveals nothing to who does not know a hash part: there are no listings of the store (row B7). Read-only.

The URL of a NAR is `nar/<hash part>-<NAR hash>.nar`, so that caches in between never mix two contents up. NARs are sent
uncompressed unless another method was chosen; then their length is not known beforehand and they come in chunks.
"""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

from storefs.errors import StoreError, SystemRefusedError
from storefs.formats.byte_reader import ByteReader
from storefs.formats.compression import EXTENSIONS, check_method, compress
from storefs.formats.nar_listing import list_nar
from storefs.formats.narinfo import NarInfo
from storefs.formats.signatures import sign_info
from storefs.logs import debug

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from storefs.api import Store
    from storefs.formats.path_info import PathInfo
    from storefs.formats.signatures import SecretKey

_IDLE = 120.0  # seconds for which a connection may be silent
_MAX_LINE = 8 << 10
_MAX_HEADERS = 100
_BATCH = 1 << 16  # small pieces are joined up to this size, because each one sent is a system call
_HASH_PART = 32


class Answer:
    """What a request gets.

    Attributes:
        status: as in 200.
        kind: the media type.
        length: of the body, None if it is not known beforehand.
        body: its pieces, made when they are sent.
    """

    __slots__ = ("body", "kind", "length", "status")

    def __init__(self, status: int, kind: str, length: int | None, body: Callable[[], Iterable[bytes]]) -> None:
        self.status = status
        self.kind = kind
        self.length = length
        self.body = body


class CacheContents:
    """A store seen as the files of a binary cache. Knows nothing of sockets.

    Args:
        store: what is served.
        keys: sign every narinfo.
        compression: of NARs.
        priority: announced; lower is asked first.
        log: opens a derivation's build log by base name, None if there is none.
    """

    def __init__(
        self,
        store: Store,
        keys: Sequence[SecretKey] = (),
        compression: str = "none",
        priority: int = 30,
        log: Callable[[str], Iterable[bytes] | None] | None = None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._compression = check_method(compression)
        self._priority = priority
        self._log = log

    def answer(self, path: str) -> Answer:
        """The file at `path`, which begins with a slash. Errors are answers too."""
        try:
            return self._find(path.lstrip("/")) or _text(404, "no such path\n")
        except StoreError as error:
            debug(f"{path}: {error}")
            return _text(404, "no such path\n")

    def _find(self, key: str) -> Answer | None:
        if key == "nix-cache-info":
            prefix = self._store.directory.path
            text = f"StoreDir: {prefix}\nWantMassQuery: 1\nPriority: {self._priority}\n"
            return _text(200, text, "text/x-nix-cache-info")
        if key.startswith("nar/"):
            return self._nar(key[4:])
        if key.startswith("log/"):
            pieces = self._log(key[4:]) if self._log is not None else None
            return None if pieces is None else Answer(200, "text/plain; charset=utf-8", None, lambda: pieces)
        hash_part, _, kind = key.partition(".")
        info = self._info(hash_part)
        if info is None:
            return None
        if kind == "narinfo":
            return _text(200, self._narinfo(info), "text/x-nix-narinfo")
        if kind == "ls":
            listing = list_nar(ByteReader(self._store.nar(info.path)))
            text = json.dumps(listing, ensure_ascii=False, separators=(",", ":"))
            return _text(200, text, "application/json")
        return None

    def _info(self, hash_part: str) -> PathInfo | None:
        if len(hash_part) != _HASH_PART:
            return None
        path = self._store.from_hash_part(hash_part)
        return None if path is None else self._store.find_path_info(path)

    def _narinfo(self, info: PathInfo) -> str:
        # The hash part may be asked for long after this answer, so the URL names the content, too.
        digest = info.nar_hash.to_string("base32", False)
        url = f"nar/{info.path.hash_part}-{digest}.nar{EXTENSIONS[self._compression]}"
        signed = sign_info(info, self._store.directory, self._keys) if self._keys else info
        plain = self._compression == "none"
        file_hash, file_size = (info.nar_hash, info.nar_size) if plain else (None, 0)
        return NarInfo(signed, url, self._compression, file_hash, file_size).to_text(self._store.directory)

    def _nar(self, name: str) -> Answer | None:
        stem, mark, _ = name.partition(".nar")
        hash_part, _, digest = stem.partition("-")
        info = self._info(hash_part) if mark else None
        if info is None or info.nar_hash.to_string("base32", False) != digest:
            return None
        pieces = self._store.nar(info.path)
        if self._compression == "none":
            return Answer(200, "application/x-nix-nar", info.nar_size, lambda: pieces)
        return Answer(200, "application/x-nix-nar", None, lambda: compress(pieces, self._compression))


class CacheServer:
    """Listens and serves until it is closed.

    Args:
        contents: what to serve.
        host: the address to listen on.
        port: 0 lets the system choose.

    Attributes:
        port: where it listens.

    Raises:
        SystemRefusedError: the address can't be listened on.
    """

    def __init__(self, contents: CacheContents, host: str = "127.0.0.1", port: int = 0) -> None:
        self._contents = contents
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, port), family=family, backlog=1024)
        except OSError as error:
            raise SystemRefusedError(f"listening on {host} port {port}", error) from error
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False

    def serve(self) -> None:
        """Accept connections. Blocks until `close`, which may be called from another thread or a signal handler."""
        while not self._closed:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                break
            with self._lock:
                self._open.add(sock)
            threading.Thread(target=self._converse, args=(sock,), name="client", daemon=True).start()

    def close(self) -> None:
        """Stop, and hang up on everybody; may be called again."""
        self._closed = True
        for sock in (self._listener, *self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._listener.close()

    def _converse(self, sock: socket.socket) -> None:
        try:
            sock.settimeout(_IDLE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with sock.makefile("rb", buffering=1 << 13) as reader:
                while not self._closed and self._one_request(sock, reader):
                    pass
        except OSError:
            pass  # the client went away, or said nothing for too long
        except StoreError as error:
            # In the middle of a body nothing can be said any more but by hanging up.
            debug(f"a transfer broke off: {error}")
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _one_request(self, sock: socket.socket, reader: object) -> bool:
        readline = reader.readline  # type: ignore[attr-defined]
        words = readline(_MAX_LINE).decode("latin-1").split()
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return False
        method, target, version = words
        headers: dict[str, str] = {}
        for _ in range(_MAX_HEADERS):
            line = readline(_MAX_LINE).decode("latin-1").strip()
            if not line:
                break
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        else:
            return False
        keep = headers.get("connection", "").lower() != "close" and version == "HTTP/1.1"
        if method not in ("GET", "HEAD") or headers.get("content-length", "0") != "0":
            _send(sock, _text(405, "this binary cache is read-only\n"), {}, head=False, keep=False)
            return False
        _send(sock, self._contents.answer(target.partition("?")[0]), headers, head=method == "HEAD", keep=keep)
        return keep


def _send(sock: socket.socket, answer: Answer, headers: dict[str, str], *, head: bool, keep: bool) -> None:
    status, length = answer.status, answer.length
    lines = [f"content-type: {answer.kind}"]
    skip = _range_start(headers.get("range", ""), length) if status == 200 else 0
    if skip and length is not None:
        status = 206
        lines.append(f"content-range: bytes {skip}-{length - 1}/{length}")
        length -= skip
    lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
    if not keep:
        lines.append("connection: close")
    reason = {200: "OK", 206: "Partial Content", 404: "Not Found", 405: "Method Not Allowed"}[status]
    first = "\r\n".join([f"HTTP/1.1 {status} {reason}", *lines, "", ""]).encode("latin-1")
    if head:
        sock.sendall(first)
        return
    pending = [first]
    size = len(first)
    for piece in _without_beginning(answer.body(), skip):
        if length is None:
            pending += (f"{len(piece):x}\r\n".encode(), piece, b"\r\n")
        else:
            pending.append(piece)
        size += len(piece)
        if size >= _BATCH:
            sock.sendall(b"".join(pending))
            pending, size = [], 0
    if length is None:
        pending.append(b"0\r\n\r\n")
    sock.sendall(b"".join(pending))


def _without_beginning(pieces: Iterable[bytes], skip: int) -> Iterator[bytes]:
    for piece in pieces:
        if skip >= len(piece):
            skip -= len(piece)
            continue
        yield piece[skip:]
        skip = 0


def _range_start(text: str, length: int | None) -> int:
    """Where a transfer that broke off is to be continued; anything else about ranges is ignored, as it may be."""
    start = text.removeprefix("bytes=").removesuffix("-")
    if length is None or not (start.isascii() and start.isdigit()) or text != f"bytes={start}-":
        return 0
    return int(start) if int(start) < length else 0


def _text(status: int, text: str, kind: str = "text/plain; charset=utf-8") -> Answer:
    content = text.encode("utf-8", "surrogateescape")
    return Answer(status, kind, len(content), lambda: [content])
