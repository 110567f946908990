"""Single exchanges: the pool of idle connections, waiting, redirections and credentials.

What downloads, batches and small requests are made of; `client.HttpClient` is what others use.
"""

from __future__ import annotations

import random
import select
import threading
import time
from typing import TYPE_CHECKING

from storefs.http_client.connection import Connection, Network, basic_auth
from storefs.http_client.messages import Exchange, HttpError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.http_client.messages import Url

SMALL_ANSWER = 4 << 20  # bytes of an answer that is kept in memory, unless the caller says otherwise
SMALL_TIMEOUT = 60.0  # seconds until a small answer must be complete, however it drips
TICK = 0.5  # seconds between looks at deadlines and at `cancel`
MAX_REDIRECTS = 10
ANSWER_TIMEOUT = 15.0  # seconds until a connection must stand and an answer begin
_FIRST_DELAY = 0.25  # seconds before the second attempt; doubles from then on
_MOST_CALLS = 2  # at a door that stays shut: whoever refuses connections is not overloaded, but not there


class CancelledError(HttpError):
    """`cancel` was called."""


class Exchanger:
    """Sends requests over connections that are kept open for reuse. Thread-safe.

    Args:
        network: how to get out.
        connections: how many at once in `many`; 0 counts as 150.
        attempts: how often a request is sent at most, where trying again may help.
        answer_timeout: seconds until an answer must begin.
        stall_timeout: seconds over which a transfer may be slower than 1 KiB/s on average.
        user_agent: what to call ourselves.
        credentials: host -> (user, password), as from a netrc file.
        tell: is told of each failure after which a single request is sent again, and when.
    """

    def __init__(
        self,
        network: Network | None = None,
        *,
        connections: int = 150,
        attempts: int = 5,
        answer_timeout: float = ANSWER_TIMEOUT,
        stall_timeout: float = 300.0,
        user_agent: str = "verglas",
        credentials: dict[str, tuple[str, str]] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.network = network or Network({})
        self.connections = connections or 150
        self.attempts = max(attempts, 1)
        self.answer_timeout = answer_timeout
        self.stall_timeout = stall_timeout
        self._user_agent = user_agent
        self._credentials = credentials or {}
        self._tell = tell
        self._idle: dict[tuple[str, str, int], list[Connection]] = {}
        self._lock = threading.Lock()
        self._cancelled = False

    def cancel(self) -> None:
        """Make every wait, present and future, end with CancelledError."""
        self._cancelled = True

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def pause(self, failures: int, error: HttpError, *, begun: bool = False) -> None:
        """Wait before the next attempt, longer after each failure.

        Args:
            failures: in a row.
            error: the last of them.
            begun: a transfer broke off, so that its server was there a moment ago.

        Raises:
            HttpError: it is `error`, after which no attempt is due; or `cancel` was called.
        """
        absent = isinstance(error, UnreachableError) and not begun
        if not error.transient or failures >= (min(self.attempts, _MOST_CALLS) if absent else self.attempts):
            raise error from None
        delay = retry_delay(failures)
        if self._tell is not None and not absent:  # who is absent will be told at once as the failure that it is
            self._tell(f"{error}; retrying in {delay * 1000:.0f} ms")
        until = time.monotonic() + delay
        while not self._cancelled and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, TICK))
        self.check_cancelled("")

    def check_cancelled(self, url: str) -> None:
        """Raise CancelledError if `cancel` was called."""
        if self._cancelled:
            raise CancelledError(url, "interrupted")

    def begin(self, exchange: Exchange) -> tuple[Exchange, Connection]:
        """Send a request and wait for the head of its answer, following redirections.

        Returns:
            the exchange that got the answer, which is another one after a redirection, and its connection.

        Raises:
            HttpError: there is no answer.
        """
        for _ in range(MAX_REDIRECTS):
            connection = self._begin_once(exchange)
            if exchange.redirect is None:
                return exchange, connection
            self._finish_or_drop(connection, exchange)
            exchange = self.redirected(exchange)
        raise HttpError(exchange.url.text, "too many redirections")

    def redirected(self, exchange: Exchange) -> Exchange:
        """The request that a redirection asks for.

        Raises:
            HttpError: it leads from https to http, or it would repeat an upload.
        """
        target = exchange.url.join(exchange.redirect or "")
        if exchange.url.scheme == "https" and target.scheme != "https":
            raise HttpError(exchange.url.text, f"it redirects to '{target.text}', which is not encrypted")
        if exchange.method not in ("GET", "HEAD"):
            raise HttpError(exchange.url.text, f"it redirects an upload to '{target.text}'")
        headers = {name: value for name, value in exchange.headers.items() if name != "authorization"}
        following = Exchange(target, exchange.method, headers)
        following.tag = exchange.tag
        return following

    def _begin_once(self, exchange: Exchange) -> Connection:
        self.dress(exchange)
        connection = self._take_idle(exchange.url)
        reused = connection is not None
        if connection is None:
            connection = Connection(exchange.url, self.network)
        connection.start(exchange)
        deadline = time.monotonic() + self.answer_timeout
        try:
            while not exchange.status and not exchange.done and exchange.error is None:
                if time.monotonic() > deadline:
                    connection.fail(self.silence(), transient=False, lost=True)
                else:
                    self.step(connection, exchange, raises=False)
        except BaseException:
            connection.close()
            raise
        if exchange.error is not None and not exchange.status:
            connection.close()
            if reused and exchange.body is None:
                # The server closed an idle connection just then; that is no failure of this request.
                self.drop_idle(exchange.url)
                exchange.error = None
                return self._begin_once(exchange)
            raise exchange.error
        return connection

    def silence(self) -> str:
        """Say that a server did not answer in time."""
        return f"the server did not answer within {self.answer_timeout:g} seconds"

    def step(self, connection: Connection, exchange: Exchange, *, raises: bool = True) -> None:
        """Wait for news on a connection, at most half a second, and take them in.

        Raises:
            HttpError: the exchange failed.
        """
        self.check_cancelled(exchange.url.text)
        if not connection.is_closed:
            if not connection.has_pending():
                poll = select.poll()
                poll.register(connection.fileno(), connection.interest())
                if not poll.poll(TICK * 1000):
                    return
            connection.advance()
        if raises and exchange.error is not None:
            raise exchange.error

    def dress(self, exchange: Exchange) -> None:
        """Add what every request carries."""
        headers = exchange.headers
        headers.setdefault("user-agent", self._user_agent)
        headers.setdefault("accept", "*/*")
        url = exchange.url
        credentials = (url.user, url.password) if url.user else self._credentials.get(url.host)
        if credentials is not None:
            headers.setdefault("authorization", basic_auth(*credentials))

    def _take_idle(self, url: Url) -> Connection | None:
        with self._lock:
            idle = self._idle.get(url.origin)
            return idle.pop() if idle else None

    def take_all_idle(self, url: Url) -> list[Connection]:
        """Take the idle connections to an origin, for a batch."""
        with self._lock:
            return self._idle.pop(url.origin, [])

    def drop_idle(self, url: Url) -> None:
        """Close the idle connections to an origin."""
        for connection in self.take_all_idle(url):
            connection.close()

    def keep(self, url: Url, connection: Connection) -> None:
        """Put a connection without an exchange away for later."""
        if connection.is_ready and connection.protocol.reusable and not connection.protocol.busy:
            with self._lock:
                self._idle.setdefault(url.origin, []).append(connection)
        else:
            connection.close()

    def give_back(self, connection: Connection, exchange: Exchange) -> None:
        """Put a connection away after an exchange; one in the middle of an answer is closed."""
        connection.take_finished()
        if exchange.done:
            self.keep(exchange.url, connection)
        else:
            connection.close()

    def _finish_or_drop(self, connection: Connection, exchange: Exchange) -> None:
        """Read the body of a redirection if it is small, for the sake of the connection."""
        for _ in range(4):
            if exchange.done or exchange.error is not None or exchange.received > 1 << 16:
                break
            self.step(connection, exchange, raises=False)
        self.give_back(connection, exchange)


def retry_delay(failures: int) -> float:
    """Seconds to wait after so many failures: doubling, with jitter so that many clients do not come in step."""
    return float(_FIRST_DELAY * 2 ** min(failures - 1, 7) * random.uniform(0.8, 1.2))
