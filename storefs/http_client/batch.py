"""Very many small requests at once: the queries for the narinfos of a closure, driven by one epoll loop.

An answer's follow-up requests start as soon as it is there, so a closure takes as many round trips as it is deep, and
no more. Each origin's state is apart: one that can't be reached ends its own requests at once and no others.
"""

from __future__ import annotations

import heapq
import select
import time
from collections import deque
from typing import TYPE_CHECKING

from storefs.http_client.connection import Connection
from storefs.http_client.exchanger import MAX_REDIRECTS, SMALL_ANSWER, SMALL_TIMEOUT, TICK, retry_delay
from storefs.http_client.messages import Exchange, HttpError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from storefs.http_client.exchanger import Exchanger
    from storefs.http_client.messages import Url

_LOOK_AFTER = 1 << 20  # bytes from a server between two looks at how long its answers have become
_MOST_REFUSALS = 20  # how often a request may meet a server that takes no more connections


class _Job:
    """A request as the caller means it, over all its attempts and redirections."""

    __slots__ = ("begun", "exchange", "failures", "redirects", "refusals")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.failures = 0
        self.redirects = 0
        self.refusals = 0
        self.begun = 0.0


class _Server:
    """One origin: its connections and how many it puts up with, what waits for them, and whether it ever answered."""

    __slots__ = ("answered", "connections", "dead", "limit", "queue", "url")

    def __init__(self, url: Url) -> None:
        self.url = url
        self.queue: deque[_Job] = deque()
        self.connections: list[Connection] = []
        self.answered = False
        self.dead: HttpError | None = None
        self.limit = 1 << 30


class Batch:
    """One run of many requests.

    Args:
        exchanger: whose connections and settings to use.
        done: called with each exchange that is over; returns further ones.
    """

    def __init__(self, exchanger: Exchanger, done: Callable[[Exchange], Iterable[Exchange]]) -> None:
        self._exchanger = exchanger
        self._done = done
        self._servers: dict[tuple[str, str, int], _Server] = {}
        self._jobs: dict[int, _Job] = {}  # by id of the exchange that is under way
        self._later: list[tuple[float, int, _Job]] = []  # a heap: when, tie-breaker
        self._registered: dict[int, tuple[Connection, _Server, int]] = {}  # descriptor -> ..., polled-for events
        self._poller = select.epoll()
        self._serial = 0

    def run(self, exchanges: Iterable[Exchange]) -> None:
        """Run until nothing is left. Blocks."""
        try:
            for exchange in exchanges:
                self._enqueue(_Job(exchange))
            next_check = time.monotonic() + TICK
            while self._jobs or self._later or any(server.queue for server in self._servers.values()):
                self._fill()
                now = time.monotonic()
                wait = min(TICK, max(self._later[0][0] - now, 0.0)) if self._later else TICK
                for descriptor, _ in self._poller.poll(wait):
                    entry = self._registered.get(descriptor)
                    if entry is not None:
                        self._progress(entry[0], entry[1], descriptor)
                now = time.monotonic()
                while self._later and self._later[0][0] <= now:
                    self._enqueue(heapq.heappop(self._later)[2])
                if now >= next_check:
                    self._exchanger.check_cancelled("")
                    self._check_deadlines(now)
                    next_check = now + TICK
        finally:
            self._poller.close()
            for server in self._servers.values():
                for connection in server.connections:
                    self._exchanger.keep(server.url, connection)

    def _enqueue(self, job: _Job) -> None:
        url = job.exchange.url
        server = self._servers.get(url.origin)
        if server is None:
            server = self._servers[url.origin] = _Server(url)
            for connection in self._exchanger.take_all_idle(url):
                self._adopt(connection, server)
        if server.dead is not None:
            job.exchange.error = server.dead
            self._deliver(job)
        else:
            self._exchanger.dress(job.exchange)
            server.queue.append(job)

    def _adopt(self, connection: Connection, server: _Server) -> None:
        server.connections.append(connection)
        self._register(connection, server)

    def _register(self, connection: Connection, server: _Server) -> None:
        descriptor, events = connection.fileno(), connection.interest()
        entry = self._registered.get(descriptor)
        if entry is None or entry[0] is not connection:
            self._registered[descriptor] = (connection, server, events)
            self._poller.register(descriptor, events)
        elif entry[2] != events:
            self._registered[descriptor] = (connection, server, events)
            self._poller.modify(descriptor, events)

    def _fill(self) -> None:
        """Start what may be started."""
        limit = self._exchanger.connections
        for server in list(self._servers.values()):
            if not server.queue:
                continue
            for connection in list(server.connections):
                self._feed(connection, server)
            # One connection tells whether a TLS server speaks HTTP/2, and then that one is enough.
            while (
                server.queue
                and server.dead is None
                and len(self._jobs) < limit
                and len(server.connections) < server.limit
                and not (
                    server.url.scheme == "https"
                    and any(not each.is_ready or each.protocol.multiplexes for each in server.connections)
                )
            ):
                try:
                    connection = Connection(server.queue[0].exchange.url, self._exchanger.network)
                except HttpError as error:
                    self._give_up(server, error)
                    break
                self._adopt(connection, server)
                self._feed(connection, server)

    def _feed(self, connection: Connection, server: _Server) -> None:
        while server.queue and connection.room and len(self._jobs) < self._exchanger.connections:
            job = server.queue.popleft()
            job.begun = time.monotonic()
            self._jobs[id(job.exchange)] = job
            connection.start(job.exchange)
        if connection.is_closed:
            self._collect(connection, server)
        else:
            self._register(connection, server)

    def _progress(self, connection: Connection, server: _Server, descriptor: int) -> None:
        connection.advance()
        while connection.has_pending():
            connection.advance()
        if connection.volume > _LOOK_AFTER:
            connection.volume = 0
            self._end_overlong(connection)
        if connection.is_closed or connection.fileno() != descriptor:
            # The descriptor is closed and its number may be given out again at once.
            self._registered.pop(descriptor, None)
        self._collect(connection, server)
        if not connection.is_closed:
            self._feed(connection, server)

    def _end_overlong(self, connection: Connection) -> None:
        """Give up a connection on which somebody sends more than anybody asked for."""
        if any(exchange.received > SMALL_ANSWER for exchange in connection.active()):
            connection.fail(f"the answer is larger than {SMALL_ANSWER} bytes", transient=False, lost=False)

    def _collect(self, connection: Connection, server: _Server) -> None:
        """Deliver the exchanges of a connection that are over."""
        if connection.is_closed and connection in server.connections:
            server.connections.remove(connection)
        for exchange in connection.take_finished():
            job = self._jobs.pop(id(exchange), None)
            if job is not None:
                self._judge(job, server, reused=connection.used)

    def _judge(self, job: _Job, server: _Server, *, reused: bool) -> None:
        """Decide what an exchange's end means for its job."""
        exchange = job.exchange
        if exchange.error is None:
            server.answered = True
            if exchange.redirect is not None:
                self._follow(job)
                return
            if exchange.received > SMALL_ANSWER:
                exchange.error = HttpError(exchange.url.text, f"the answer is larger than {SMALL_ANSWER} bytes")
            elif exchange.status >= 500 or exchange.status in (408, 429):
                try:
                    exchange.check_status()
                except HttpError as bad_status:
                    exchange.error = bad_status
        error = exchange.error
        if error is None:
            self._deliver(job)
        elif not reused and not exchange.status and error.transient and self._has_others(server):
            # A server that takes so many connections and no more: be content with those it took.
            server.limit = max(sum(each.is_ready for each in server.connections), 1)
            job.refusals += 1
            if job.refusals > _MOST_REFUSALS:
                self._deliver(job)
            else:
                self._again(job, retry_delay(1))
        elif isinstance(error, UnreachableError) and not server.answered:
            self._give_up(server, error)
            self._deliver(job)
        elif error.transient and job.failures + 1 < self._exchanger.attempts:
            job.failures += 1
            self._again(job, 0.0 if reused and not exchange.status and job.failures == 1 else retry_delay(job.failures))
        else:
            self._deliver(job)

    def _has_others(self, server: _Server) -> bool:
        return server.answered or any(each.is_ready for each in server.connections)

    def _follow(self, job: _Job) -> None:
        job.redirects += 1
        try:
            if job.redirects > MAX_REDIRECTS:
                raise HttpError(job.exchange.url.text, "too many redirections")
            job.exchange = self._exchanger.redirected(job.exchange)
        except HttpError as error:
            job.exchange.error = error
            self._deliver(job)
        else:
            self._enqueue(job)

    def _again(self, job: _Job, delay: float) -> None:
        old = job.exchange
        job.exchange = Exchange(old.url, old.method, old.headers)
        job.exchange.tag = old.tag
        self._serial += 1
        heapq.heappush(self._later, (time.monotonic() + delay, self._serial, job))

    def _give_up(self, server: _Server, error: HttpError) -> None:
        """Treat a server as absent for the rest of this run."""
        server.dead = error
        waiting, server.queue = server.queue, deque()
        for job in waiting:
            job.exchange.error = error
            self._deliver(job)

    def _deliver(self, job: _Job) -> None:
        for exchange in self._done(job.exchange):
            self._enqueue(_Job(exchange))

    def _check_deadlines(self, now: float) -> None:
        answer_timeout = self._exchanger.answer_timeout
        for server in list(self._servers.values()):
            for connection in list(server.connections):
                for exchange in connection.active():
                    job = self._jobs.get(id(exchange))
                    if job is None:
                        continue
                    if not exchange.status and now - job.begun > answer_timeout:
                        connection.fail(self._exchanger.silence(), transient=False, lost=not server.answered)
                    elif now - job.begun > SMALL_TIMEOUT:
                        connection.fail("the answer took too long", transient=False, lost=False)
                    if connection.is_closed:
                        self._registered = {fd: e for fd, e in self._registered.items() if e[0] is not connection}
                        self._collect(connection, server)
                        break
