"""Requests, what comes back, URLs, and how failures are told apart. No I/O."""

from __future__ import annotations

from urllib.parse import quote, unquote, urljoin, urlsplit

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# What a cache answers for a path that it has not, or will not show. Not 401: that is said about the client and not
# about the path, and must not be remembered as a miss until long after the password has been put in its place.
MISSING = frozenset((403, 404, 410))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
# 5xx answers that asking again does not change: not implemented, unknown version, captive portal.
_FINAL_5XX = frozenset((501, 505, 511))


class HttpError(StoreError):
    """A request that got no useful answer.

    Attributes:
        url: what was asked for, without a password.
        status: the answer's status, 0 if there was none.
        transient: asking again may help.
    """

    def __init__(self, url: str, reason: str, *, status: int = 0, transient: bool = False) -> None:
        super().__init__(f"unable to download '{url}': {reason}")
        self.url = url
        self.reason = reason
        self.status = status
        self.transient = transient


class UnreachableError(HttpError):
    """No connection could be made, or the server accepted it and stayed silent."""


class Url:
    """A URL taken apart, as far as HTTP needs it.

    Raises:
        HttpError: it is not an http or https URL with a host.
    """

    __slots__ = ("host", "password", "port", "scheme", "target", "text", "user")

    def __init__(self, text: str) -> None:
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise HttpError(text, str(error)) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HttpError(text, "it is not an http or https URL")
        self.scheme = parts.scheme
        self.host = parts.hostname
        self.port = port or (443 if parts.scheme == "https" else 80)
        self.user = unquote(parts.username or "")
        self.password = unquote(parts.password or "")
        path = quote(parts.path or "/", safe="/%:=&?~#+!$,;'@()*[]")
        query = "?" + quote(parts.query, safe="/%:=&?~#+!$,;'@()*[]") if parts.query else ""
        self.target = path + query
        bare = f"[{self.host}]" if ":" in self.host else self.host
        netloc = bare if port is None else f"{bare}:{port}"
        self.text = f"{self.scheme}://{netloc}{self.target}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a connection belongs to."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    def join(self, reference: str) -> Url:
        """Resolve a reference relative to this URL. Credentials are not taken along to another place."""
        return Url(urljoin(self.text, reference))


def as_url(url: str | Url) -> Url:
    """Take a URL apart unless it is already."""
    return Url(url) if isinstance(url, str) else url


class Exchange:
    """One request and, bit by bit, its answer. Protocols fill it in; whoever made it reads it.

    Attributes:
        url: the target.
        method: as in `GET`.
        headers: of the request, lower-case names; Host and framing are the protocol's business.
        body: of the request: None, bytes, or pieces of a total length that a `content-length` header states.
        status: of the answer, 0 until its head is there.
        answer: headers of the answer, lower-case names.
        pieces: of the answer's body, to be taken away by the reader.
        received: bytes of the body so far.
        done: the answer is complete.
        error: why it will never be.
        tag: the caller's own; kept over redirections and retries.
    """

    __slots__ = ("answer", "body", "done", "error", "headers", "method", "pieces", "received", "status", "tag", "url")

    def __init__(
        self,
        url: Url,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | Iterator[bytes] | None = None,
    ) -> None:
        self.url = url
        self.method = method
        self.headers = headers or {}
        self.body = body
        self.status = 0
        self.answer: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.received = 0
        self.done = False
        self.error: HttpError | None = None
        self.tag: Any = None

    @property
    def is_missing(self) -> bool:
        """Whether the server has not got it, or will not show it."""
        return self.status in MISSING

    @property
    def redirect(self) -> str | None:
        """Where the answer points to, if it is a redirection."""
        return self.answer.get("location") if self.status in _REDIRECTS else None

    def fail(self, reason: str, *, transient: bool = True, unreachable: bool = False) -> None:
        """End the exchange without an answer; the first reason stays."""
        if self.error is None and not self.done:
            kind = UnreachableError if unreachable else HttpError
            self.error = kind(self.url.text, reason, transient=transient)

    def check_status(self) -> None:
        """Accept a success.

        Raises:
            HttpError: any other status.
        """
        status = self.status
        if not 200 <= status < 300:
            transient = status in (408, 429) or (status >= 500 and status not in _FINAL_5XX)
            hint = (
                ": the server wants another password; 'netrc-file' names the file that has them"
                if status == 401
                else ""
            )
            raise HttpError(self.url.text, f"HTTP error {status}{hint}", status=status, transient=transient)

    def take(self) -> bytes:
        """Take what has come of the body since the last call."""
        if len(self.pieces) == 1:
            return self.pieces.pop()
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data


class Response:
    """A complete, small answer.

    Attributes:
        url: where it came from after redirections.
        status: 2xx.
        headers: lower-case names.
        body: all of it.
    """

    __slots__ = ("body", "headers", "status", "url")

    def __init__(self, url: str, status: int, headers: dict[str, str], body: bytes) -> None:
        self.url = url
        self.status = status
        self.headers = headers
        self.body = body
