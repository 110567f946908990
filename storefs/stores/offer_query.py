"""Asking several substituters about many paths, and about what those refer to, with as much in flight as is allowed.

Each path goes to the substituters in turn until one has it. What an answer refers to is asked about as soon as the
answer is there, so a closure costs as many round trips as it is deep, each path once. Blocking; one thread a query.
"""

from __future__ import annotations

from storefs.formats.narinfo import NarInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Protocol

    from storefs.formats.realisation import DrvOutput, Realisation
    from storefs.formats.store_path import StorePath
    from storefs.http_client.client import HttpClient
    from storefs.http_client.messages import Exchange

    class Source(Protocol):
        """A substituter as this query sees it: `BinaryCache`, `StoreSource`."""

        is_trusted: bool

        @property
        def uri(self) -> str:
            """Its name in messages."""

        @property
        def priority(self) -> int:
            """Lower is asked first."""

        @property
        def want_mass_query(self) -> bool:
            """Whether it may be asked about thousands of paths."""

        def is_usable(self) -> bool:
            """Whether to ask it now."""

        def is_resting(self) -> bool:
            """Whether it failed a moment ago, and is left alone for a while: nobody knows what it has."""

        def known(self, path: StorePath) -> NarInfo | bool | None:
            """What it answered before: False that it has not got the path, None if it was not asked."""

        def ask(self, path: StorePath) -> NarInfo | bool:
            """Ask and wait; failures count as not having the path."""

        def exchange(self, path: StorePath) -> Exchange | None:
            """The request that asks; None if `ask` is as good."""

        def client(self) -> HttpClient | None:
            """What sends those requests."""

        def take(self, path: StorePath, exchange: Exchange) -> NarInfo | bool:
            """Take the answer to such a request."""

        def realisation(self, output: DrvOutput) -> Realisation | None:
            """What it says an output of a derivation is; failures count as not knowing."""

        def save(self) -> None:
            """Remember new answers."""

        def forget(self, path: StorePath) -> None:
            """Forget an answer that turned out to be wrong."""

        def prefetch(self, narinfos: Sequence[NarInfo]) -> None:
            """Fetch small NARs at once, which `open_nar` then finds here. Failures are left to `open_nar`."""

        def open_nar(self, narinfo: NarInfo) -> AbstractContextManager[Iterator[bytes]]:
            """A context with the uncompressed pieces of a NAR."""


class _Query:
    def __init__(self, sources: Sequence[Source], recursive: bool, skip: Callable[[StorePath], bool] | None) -> None:
        self.sources = sources
        self.recursive = recursive
        self.skip = skip
        self.seen: set[StorePath] = set()
        self.found: dict[StorePath, tuple[Source, NarInfo]] = {}

    def expand(self, paths: Iterable[StorePath]) -> list[Exchange]:
        """Settle what can be settled without waiting, and return the requests for the rest."""
        requests = []
        todo = [path for path in paths if path not in self.seen]
        self.seen.update(todo)
        while todo:
            path = todo.pop()
            request = self.settle(path, 0)
            if request is not None:
                requests.append(request)
            elif self.recursive:
                todo.extend(self.fresh_references(path))
        return requests

    def fresh_references(self, path: StorePath) -> list[StorePath]:
        answer = self.found.get(path)
        if answer is None:
            return []
        fresh = []
        for reference in answer[1].info.references:
            if reference not in self.seen:
                self.seen.add(reference)
                if self.skip is None or not self.skip(reference):
                    fresh.append(reference)
        return fresh

    def settle(self, path: StorePath, start: int) -> Exchange | None:
        """Find an answer without waiting, or make the request that will bring one."""
        sources = self.sources
        if start == 0:
            # What any of them is known to have saves asking those before it.
            for source in sources:
                answer = source.known(path)
                if isinstance(answer, NarInfo) and source.is_usable():
                    self.found[path] = (source, answer)
                    return None
        for index in range(start, len(sources)):
            source = sources[index]
            if source.known(path) is not None or not source.is_usable():
                continue
            request = source.exchange(path)
            if request is not None:
                request.tag = path, index
                return request
            answer = source.ask(path)
            if isinstance(answer, NarInfo):
                self.found[path] = (source, answer)
                return None
        return None

    def done(self, exchange: Exchange) -> list[Exchange]:
        """Take an answer; return the requests that follow from it."""
        path, index = exchange.tag
        source = self.sources[index]
        answer = source.take(path, exchange)
        if isinstance(answer, NarInfo):
            self.found[path] = (source, answer)
            return self.expand_fresh(self.fresh_references(path)) if self.recursive else []
        request = self.settle(path, index + 1)
        if request is not None:
            return [request]
        return self.expand_fresh(self.fresh_references(path)) if self.recursive else []

    def expand_fresh(self, paths: list[StorePath]) -> list[Exchange]:
        self.seen.difference_update(paths)
        return self.expand(paths)


def query(
    sources: Sequence[Source],
    paths: Iterable[StorePath],
    *,
    recursive: bool = False,
    skip: Callable[[StorePath], bool] | None = None,
) -> dict[StorePath, tuple[Source, NarInfo]]:
    """Find out who has which paths.

    Args:
        sources: in the order in which they are asked; a path that one has is not asked of the next.
        paths: what to ask about.
        recursive: also ask about everything that the answers refer to.
        skip: references for which it says True are not followed: those that are valid here.

    Returns:
        for every path that somebody has, who, and what they say.
    """
    run = _Query(sources, recursive, skip)
    requests = run.expand(paths)
    if requests:
        client = next(each for each in (source.client() for source in sources) if each is not None)

        client.many(requests, run.done)
    for source in sources:
        source.save()
    return run.found
