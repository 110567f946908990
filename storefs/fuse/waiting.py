"""Requests that wait for the network: set aside by the serving thread, answered by threads of their own.

Only a lazy mount has them. Whoever waits can be interrupted (^C): the kernel tells us, and the request is answered with
EINTR at once, although the transfer goes on for others.

Every thread here owns a complete `Answerer`, because views and their snapshots belong to one thread.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue

from storefs.fuse.view import NotHereYetError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Answerer(Protocol):
        """What can answer a request that was kept: a `KernelServer`."""

        def answer(self, request: bytes) -> None:
            """Answer it; raises NotHereYetError, unanswered, when it has to wait once more."""

        def refuse(self, request: bytes, error: Exception | None) -> None:
            """Answer it with EIO because of `error`, or with EINTR if that is None."""


_THREADS = 16


class _Guest:
    __slots__ = ("being_answered", "interrupted", "request")

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.being_answered = False
        self.interrupted = False


class WaitingRoom:
    """The requests of one connection that wait.

    Args:
        make_answerer: makes what a thread answers with.
    """

    def __init__(self, make_answerer: Callable[[], Answerer]) -> None:
        self._make_answerer = make_answerer
        self._lock = threading.Lock()
        self._guests: dict[int, _Guest] = {}
        self._jobs: SimpleQueue[tuple[int, Callable[[], None]] | None] = SimpleQueue()
        self._threads = 0
        self._idle = 0

    def admit(self, unique: int, request: bytes, wait: Callable[[], None]) -> None:
        """Run `wait` in another thread, and answer the request there afterwards."""
        with self._lock:
            self._guests[unique] = _Guest(request)
            if not self._idle and self._threads < _THREADS:
                self._threads += 1
                threading.Thread(target=self._host, name="lazy", daemon=True).start()
        self._jobs.put((unique, wait))

    def interrupt(self, unique: int, answerer: Answerer) -> None:
        """Answer a waiting request with EINTR: who made it does not wait any more."""
        with self._lock:
            guest = self._guests.get(unique)
            if guest is None:
                return
            guest.interrupted = True
            if guest.being_answered:
                return
            del self._guests[unique]
        answerer.refuse(guest.request, None)

    def close(self) -> None:
        """Let the threads end when they are done."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _host(self) -> None:
        answerer = self._make_answerer()
        while True:
            with self._lock:
                self._idle += 1
            job = self._jobs.get()
            with self._lock:
                self._idle -= 1
            if job is None:
                return
            self._attend(answerer, *job)

    def _attend(self, answerer: Answerer, unique: int, wait: Callable[[], None]) -> None:
        while True:
            failure: Exception | None = None
            try:
                wait()
            except Exception as error:  # whatever it was: a reader without an answer hangs for ever
                failure = error
            with self._lock:
                guest = self._guests.get(unique)
                if guest is None:
                    return
                guest.being_answered = True
            try:
                if failure is not None:
                    answerer.refuse(guest.request, failure)
                else:
                    answerer.answer(guest.request)
            except NotHereYetError as more:
                wait = more.wait
                with self._lock:
                    guest.being_answered = False
                    if not guest.interrupted:
                        continue
                answerer.refuse(guest.request, None)
            with self._lock:
                self._guests.pop(unique, None)
            return
