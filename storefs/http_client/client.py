"""The door: requests with retries, redirections and credentials, one at a time or very many at once.

Synchronous and usable from several threads at once (each request is driven by its caller's thread); code under trio
calls it in threads. An interrupt ends a wait at once in the main thread; `cancel` ends all waits within half a second.
"""

from __future__ import annotations

import itertools
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from storefs.http_client.batch import Batch
from storefs.http_client.connection import Network
from storefs.http_client.download import Download
from storefs.http_client.exchanger import ANSWER_TIMEOUT, SMALL_ANSWER, SMALL_TIMEOUT, Exchanger
from storefs.http_client.messages import Exchange, HttpError, Response, Url, as_url
from storefs.http_client.netrc import read_netrc
from storefs.logs import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from storefs.config import Config

_T = TypeVar("_T")


class HttpClient(Exchanger):
    """What callers use. Arguments as for `Exchanger`; made from settings by `from_config`."""

    @classmethod
    def from_config(cls, config: Config) -> HttpClient:
        """Make a client with the settings of nix.conf and the environment's proxies. Reads the netrc file."""
        names = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
        proxies = {name: config.variable(name) or config.variable(name.upper()) for name in names}
        ca_file = config.variable("NIX_SSL_CERT_FILE") or config.variable("SSL_CERT_FILE")
        suffix = config.text("user-agent-suffix")
        return cls(
            Network(proxies, ca_file, config.boolean("http2")),
            connections=config.integer("http-connections"),
            attempts=config.integer("download-attempts"),
            answer_timeout=float(config.integer("connect-timeout") or ANSWER_TIMEOUT),
            stall_timeout=float(config.integer("stalled-download-timeout")),
            user_agent="verglas" + (f" {suffix}" if suffix else ""),
            credentials=read_netrc(config.text("netrc-file")),
            tell=warn,
        )

    def get(self, url: str | Url, *, limit: int = SMALL_ANSWER, headers: dict[str, str] | None = None) -> Response:
        """Fetch something small. Blocks.

        Raises:
            HttpError: no 2xx answer, or one larger than `limit` bytes.
        """
        return self._retrying(lambda: self._small(Exchange(as_url(url), "GET", dict(headers or {})), limit))

    def head(self, url: str | Url, *, headers: dict[str, str] | None = None) -> Response:
        """Ask whether something is there. Blocks; raises as `get`."""
        return self._retrying(lambda: self._small(Exchange(as_url(url), "HEAD", dict(headers or {})), SMALL_ANSWER))

    def send(
        self, method: str, url: str | Url, body: Callable[[], bytes | Iterator[bytes]], headers: dict[str, str]
    ) -> Response:
        """Upload something. Blocks; raises as `get`.

        Args:
            method: PUT or POST.
            url: where to.
            body: makes the body anew for each attempt; for pieces, `headers` states their `content-length`.
            headers: of the request, lower-case names.
        """
        return self._retrying(lambda: self._small(Exchange(as_url(url), method, dict(headers), body()), SMALL_ANSWER))

    @contextmanager
    def stream(self, url: str | Url, headers: dict[str, str] | None = None) -> Iterator[Download]:
        """Fetch something large: a context with a `Download`, whose head is there already. Blocks; raises as `get`."""
        download = self._retrying(lambda: Download(self, as_url(url), headers or {}))
        try:
            yield download
        finally:
            download.close()

    def _retrying(self, attempt: Callable[[], _T]) -> _T:
        for number in itertools.count(1):
            try:
                return attempt()
            except HttpError as error:
                self.pause(number, error)
        raise AssertionError

    def _small(self, exchange: Exchange, limit: int) -> Response:
        begun = time.monotonic()
        exchange, connection = self.begin(exchange)
        try:
            exchange.check_status()
            while not exchange.done:
                if exchange.received > limit:
                    raise HttpError(exchange.url.text, f"the answer is larger than {limit} bytes")
                if time.monotonic() - begun > SMALL_TIMEOUT:
                    raise HttpError(exchange.url.text, "the answer took too long")
                self.step(connection, exchange)
            return Response(exchange.url.text, exchange.status, exchange.answer, exchange.take())
        finally:
            self.give_back(connection, exchange)

    def many(self, exchanges: Iterable[Exchange], done: Callable[[Exchange], Iterable[Exchange]]) -> None:
        """Run requests with small answers, as many at once as `connections` allows. Blocks until none is left.

        Args:
            exchanges: the first requests.
            done: called with each that is over (`status` and the body, or `error`); returns further requests.
        """
        Batch(self, done).run(exchanges)
