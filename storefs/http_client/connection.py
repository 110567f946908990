"""One non-blocking connection to a server: resolving, connecting, a proxy's tunnel, TLS, then a protocol.

Blocks only in the resolver. Whoever drives it polls `fileno()` for `interest()` and calls `advance()`; a batch drives
many, a download drives one. Not thread-safe; a connection belongs to one thread at a time.
"""

from __future__ import annotations

import errno
import select
import socket

from storefs.http_client.http1 import Http1
from storefs.http_client.messages import HttpError, UnreachableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from storefs.http_client.http2 import Http2
    from storefs.http_client.messages import Exchange, Url

_READ = 1 << 17
_READS = 8  # pieces taken in one go, so that one fast server does not starve the others

_CONNECTING, _TUNNEL, _TLS, _READY, _CLOSED = range(5)


class Network:
    """How to get out: proxies, certificates, addresses that were looked up. Shared by all connections of a client.

    Args:
        proxies: values of http_proxy, https_proxy, all_proxy and no_proxy by those names.
        ca_file: certificates to trust instead of the system's; '' for those.
        http2: offer HTTP/2 to TLS servers.
    """

    __slots__ = ("_addresses", "_ca_file", "_context", "_http2", "_no_proxy", "_proxies")

    def __init__(self, proxies: Mapping[str, str], ca_file: str = "", http2: bool = True) -> None:
        self._proxies = proxies
        self._no_proxy = [name.strip().lstrip("*.").lower() for name in proxies.get("no_proxy", "").split(",")]
        self._ca_file = ca_file
        self._http2 = http2
        self._context: ssl.SSLContext | None = None
        self._addresses: dict[tuple[str, int], list[tuple[int, object]]] = {}

    def proxy_for(self, url: Url) -> str:
        """The proxy's URL, '' for a direct connection."""
        for name in self._no_proxy:
            if name and (url.host == name or url.host.endswith("." + name)):
                return ""
        if "*" in self._proxies.get("no_proxy", "").split(","):
            return ""
        return self._proxies.get(f"{url.scheme}_proxy") or self._proxies.get("all_proxy") or ""

    def addresses(self, host: str, port: int) -> list[tuple[int, object]]:
        """Look a host up, once; may block for as long as the resolver does.

        Raises:
            OSError: it has no address.
        """
        found = self._addresses.get((host, port))
        if found is None:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = self._addresses[host, port] = [(family, address) for family, _, _, _, address in answers]
        return found

    def forget(self, host: str, port: int) -> None:
        """Look a host up again next time: none of its addresses worked."""
        self._addresses.pop((host, port), None)

    def context(self) -> ssl.SSLContext:
        """The TLS settings.

        Raises:
            OSError: the certificates can't be read.
        """
        if self._context is None:
            import ssl  # noqa: PLC0415  30 ms that a cache without TLS does not cost

            context = ssl.create_default_context(cafile=self._ca_file or None)
            context.set_alpn_protocols(["h2", "http/1.1"] if self._http2 else ["http/1.1"])
            self._context = context
        return self._context


class Connection:
    """A connection to the server of one origin.

    Args:
        url: any URL of that origin.
        network: how to get there.

    Attributes:
        protocol: HTTP/1.1 or HTTP/2, once that is known.
        sock: the socket.
        used: whether anything ever came from the server.
        volume: how many bytes have come from it; the driver's to set back.

    Raises:
        UnreachableError: the name has no address.
    """

    __slots__ = (
        "_addresses",
        "_context",
        "_exchanges",
        "_network",
        "_peer",
        "_state",
        "_tunnel",
        "_url",
        "_want_write",
        "protocol",
        "sock",
        "used",
        "volume",
    )

    def __init__(self, url: Url, network: Network) -> None:
        self._url = url
        self._network = network
        self._exchanges: list[Exchange] = []
        self._state = _CONNECTING
        self._tunnel = bytearray()
        self._want_write = True
        self.used = False
        self.volume = 0
        self.protocol: Http1 | Http2 = Http1()
        self._peer = (url.host, url.port)
        proxy = network.proxy_for(url)
        if proxy:
            self._use_proxy(proxy)
        try:
            # The context first: unreadable certificates are no reason to try all addresses.
            self._context = network.context() if url.scheme == "https" else None
            self._addresses = list(network.addresses(*self._peer))
        except OSError as error:
            # Not transient: who looks up names has asked several servers several times.
            raise UnreachableError(url.text, f"{self._peer[0]}: {error.strerror or error}") from None
        self.sock = self._open()

    def _use_proxy(self, proxy: str) -> None:
        from urllib.parse import unquote, urlsplit  # noqa: PLC0415  only with a proxy

        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme != "http" or not parts.hostname:
            raise HttpError(self._url.text, f"the proxy '{proxy}' is not an http URL")
        self._peer = (parts.hostname, parts.port or 3128)
        if self._url.scheme == "http":
            self.protocol = Http1(absolute=True)
            return
        lines = [f"CONNECT {self._url.host}:{self._url.port} HTTP/1.1", f"host: {self._url.host}:{self._url.port}"]
        if parts.username:
            lines.append("proxy-authorization: " + basic_auth(unquote(parts.username), unquote(parts.password or "")))
        self._tunnel += ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _open(self) -> socket.socket:
        while True:
            family, address = self._addresses.pop(0)
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = sock.connect_ex(address)  # type: ignore[arg-type]
            if code in (0, errno.EINPROGRESS):
                return sock
            sock.close()
            if not self._addresses:
                self._network.forget(*self._peer)
                raise UnreachableError(
                    self._url.text, f"can't connect to {self._peer[0]}: {_strerror(code)}", transient=True
                )

    @property
    def is_ready(self) -> bool:
        """Whether the protocol is known and requests flow."""
        return self._state == _READY

    @property
    def is_closed(self) -> bool:
        """Whether it is of no use any more."""
        return self._state == _CLOSED

    @property
    def room(self) -> int:
        """How many exchanges may be started now; one may always be given to a connection that is being made."""
        if self._state == _CLOSED:
            return 0
        return self.protocol.room if self._state == _READY else int(not self._exchanges)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self.sock.fileno()

    def interest(self) -> int:
        """What to poll for: EPOLLIN, EPOLLOUT or both (the values are poll's, too)."""
        if self._state == _READY:
            more = bool(self.protocol.out) or any(each.body is not None for each in self._exchanges)
            return select.EPOLLIN | (select.EPOLLOUT if more or self._want_write else 0)
        return select.EPOLLOUT if self._want_write else select.EPOLLIN

    def has_pending(self) -> bool:
        """Whether decrypted bytes wait that polling would not show."""
        return self._context is not None and self._state == _READY and bool(self.sock.pending())  # type: ignore[attr-defined]

    def start(self, exchange: Exchange) -> None:
        """Send a request now, or as soon as the connection is there. Answers are taken in by `advance` only."""
        self._exchanges.append(exchange)
        if self._state == _READY:
            self.protocol.start(exchange)
            try:
                self._send()
            except OSError as error:
                self._on_os_error(error)

    def active(self) -> list[Exchange]:
        """The exchanges that are not over."""
        return [each for each in self._exchanges if not (each.done or each.error)]

    def take_finished(self) -> list[Exchange]:
        """Take those that are over since the last call."""
        over = [each for each in self._exchanges if each.done or each.error]
        if over:
            self._exchanges = self.active()
        return over

    def advance(self) -> None:
        """Do what can be done without waiting. Failures end up in the exchanges."""
        try:
            if self._state == _CONNECTING:
                self._finish_connecting()
            if self._state == _TUNNEL:
                self._advance_tunnel()
            if self._state == _TLS:
                self._handshake()
            if self._state == _READY:
                self._send()
                self._receive()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._on_os_error(error)

    def _on_os_error(self, error: OSError) -> None:
        import ssl  # noqa: PLC0415  an error path

        if isinstance(error, ssl.SSLWantReadError):
            self._want_write = False
        elif isinstance(error, ssl.SSLWantWriteError):
            self._want_write = True
        elif isinstance(error, ssl.SSLCertVerificationError):
            self.fail(f"the server's certificate is not valid: {error.verify_message}", transient=False, lost=True)
        else:
            self.fail(error.strerror or str(error), transient=True, lost=self._state != _READY)

    def fail(self, reason: str, *, transient: bool, lost: bool) -> None:
        """Give the connection up, and all its exchanges with it.

        Args:
            reason: for the message.
            transient: whether trying again may help.
            lost: whether the server counts as unreachable.
        """
        for exchange in self._exchanges:
            exchange.fail(reason, transient=transient, unreachable=lost)
        self.close()

    def close(self) -> None:
        """Close the socket; may be called again."""
        if self._state != _CLOSED:
            self._state = _CLOSED
            self.sock.close()

    def _finish_connecting(self) -> None:
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.sock.close()
            if not self._addresses:
                self._network.forget(*self._peer)
                self.fail(f"can't connect to {self._peer[0]}: {_strerror(code)}", transient=True, lost=True)
                return
            try:
                self.sock = self._open()
            except UnreachableError as error:
                self.fail(error.reason, transient=True, lost=True)
            return
        try:
            self.sock.getpeername()
        except OSError:
            return  # still on its way
        self._state = _TUNNEL if self._tunnel else _TLS
        if self._state == _TLS:
            self._begin_tls()

    def _advance_tunnel(self) -> None:
        if self._want_write:
            del self._tunnel[: self.sock.send(self._tunnel)]
            self._want_write = bool(self._tunnel)
            return
        data = self.sock.recv(_READ)
        self._tunnel += data
        if data and b"\r\n\r\n" not in self._tunnel and len(self._tunnel) < _READ:
            return
        words = bytes(self._tunnel[:80]).split(None, 2)
        if len(words) < 2 or words[1] != b"200":
            shown = words[1].decode("latin-1") if len(words) > 1 else "nothing"
            self.fail(f"the proxy {self._peer[0]} answered {shown}", transient=False, lost=True)
            return
        self._state = _TLS
        self._begin_tls()

    def _begin_tls(self) -> None:
        if self._context is None:
            self._become_ready()
        else:
            self.sock = self._context.wrap_socket(
                self.sock, server_hostname=self._url.host, do_handshake_on_connect=False
            )

    def _handshake(self) -> None:
        self.sock.do_handshake()  # type: ignore[attr-defined]
        if self.sock.selected_alpn_protocol() == "h2":  # type: ignore[attr-defined]
            from storefs.http_client.http2 import Http2  # noqa: PLC0415  40 ms, only for servers that speak it

            self.protocol = Http2()
        self._become_ready()

    def _become_ready(self) -> None:
        self._state = _READY
        self._want_write = False
        for exchange in self._exchanges:
            self.protocol.start(exchange)

    def _send(self) -> None:
        protocol = self.protocol
        protocol.refill()
        while protocol.out:
            try:
                sent = self.sock.send(protocol.out)
            except BlockingIOError:
                return
            except BrokenPipeError:
                return  # the server may have answered before it hung up; that answer says more
            del protocol.out[:sent]
            protocol.refill()

    def _receive(self) -> None:
        for _ in range(_READS):
            try:
                data = self.sock.recv(_READ)
            except BlockingIOError:
                return
            if not data:
                self.protocol.end()
                for exchange in self._exchanges:
                    exchange.fail("the server closed the connection early")
                self.close()
                return
            self.used = True
            self.volume += len(data)
            self.protocol.receive(data)
            if not self.protocol.busy:
                break
        if self.protocol.out:
            self._send()
        if not self.protocol.busy and not self.protocol.reusable:
            self.close()


def basic_auth(user: str, password: str) -> str:
    """The value of an Authorization header."""
    import binascii  # noqa: PLC0415  rare

    return "Basic " + binascii.b2a_base64(f"{user}:{password}".encode(), newline=False).decode("ascii")


def _strerror(code: int) -> str:
    import os  # noqa: PLC0415  an error path

    return os.strerror(code)
