"""Making paths valid by copying them from substituters: the builder's `Fetcher`, and `nix-store --realise` of a path.

One object serves a whole command: a path that two goals want is fetched once, and whoever comes second waits for it.
Blocking and thread-safe. Semantics: substitution-goal.cc and misc.cc of Nix 2.8, but many paths at a time: a closure
is asked about in one query, and fetched by several threads in groups that are registered together.
"""

from __future__ import annotations

import threading

from storefs.api import Offer
from storefs.errors import StoreError
from storefs.logs import INFO, log, warn
from storefs.stores.cache_transport import GoneError
from storefs.stores.copying import UnsignedPathError, take_nar, topological
from storefs.stores.fetch_groups import fetch_groups
from storefs.stores.freed_memory import keep_freed_memory
from storefs.stores.offer_query import query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from storefs.api import Intake, Store, Tree
    from storefs.formats.narinfo import NarInfo
    from storefs.formats.path_info import PathInfo
    from storefs.formats.realisation import DrvOutput, Realisation
    from storefs.formats.store_path import StorePath
    from storefs.stores.copying import Trust
    from storefs.stores.offer_query import Source

    _Claims = dict[StorePath, "_Claim"]  # what one fetch makes valid; each is set when that is over

_WORKERS = 8  # threads wait for the network and the disk; Python runs one of them at a time


class SubstitutionError(StoreError):
    """No substituter had a path whole and intact.

    Attributes:
        path: the path that could not be fetched.
        missing: True if no substituter has it at all, or any more, or with a signature that counts: for Nix, too, it is
            as if none had it. False if what they have is no good.
    """

    def __init__(self, text: str, path: StorePath, *, missing: bool) -> None:
        super().__init__(text)
        self.path = path
        self.missing = missing


class _Claim(threading.Event):
    """One path that a fetch is to make valid; set when that is over."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: SubstitutionError | None = None  # for who waits: why no source had it


class Substitution:
    """See the module.

    Args:
        store: where paths become valid.
        sources: substituters, in any order.
        trust: whose signatures count.
        on_path: called with (path, source's name) when the transfer of a path begins; from any thread.

    Attributes:
        pause_before_each: called before each transfer; may wait, to let something more urgent go first.
    """

    def __init__(
        self,
        store: Store,
        sources: Iterable[Source],
        trust: Trust,
        on_path: Callable[[StorePath, str], None] | None = None,
    ) -> None:
        self._store = store
        self._unsorted = list(sources)
        self._sorted: list[Source] | None = None
        self._trust = trust
        self._on_path = on_path or self._report
        self.pause_before_each: Callable[[], object] | None = None
        self._found: dict[StorePath, tuple[Source, NarInfo]] = {}
        self._under_way: dict[StorePath, _Claim] = {}
        self._lock = threading.Lock()
        self._asking = threading.Lock()

    @property
    def sources(self) -> list[Source]:
        """The substituters, best first. May ask them for their priorities, once."""
        if self._sorted is None:
            self._sorted = sorted(self._unsorted, key=lambda source: source.priority)
        return self._sorted

    def offers(self, paths: Collection[StorePath]) -> dict[StorePath, Offer]:
        """What substituters have of `paths`.

        The paths that those refer to are asked about in the same round, because they are wanted next.
        """
        found = self.closure(paths)
        return {
            path: Offer(found[path][1].info, found[path][1].file_size or found[path][1].info.nar_size)
            for path in paths
            if path in found
        }

    def realisations(self, output: DrvOutput) -> list[Realisation]:
        """What substituters say an output is; see `realisation_query`."""
        from storefs.stores.realisation_query import find_realisations  # noqa: PLC0415  only for what floats

        return find_realisations(self._store, self.sources, self._trust, output)

    def substitutable(self, paths: Collection[StorePath]) -> set[StorePath]:
        """Those of many paths that substituters have which do not mind being asked (`nix-env -qas`)."""
        willing = [source for source in self.sources if source.want_mass_query]
        return set(query(willing, paths)) if willing else set()

    def closure(self, paths: Collection[StorePath]) -> dict[StorePath, tuple[Source, NarInfo]]:
        """Who has `paths` and what they refer to, as far as that is not valid here."""
        with self._asking:
            fresh = [path for path in paths if path not in self._found]
            if fresh and self.sources:
                found = query(self.sources, fresh, recursive=True, skip=self._store.is_valid)
                self._found.update(found)
        return self._found

    def fetch(self, path: StorePath) -> None:
        """Make a path and everything it refers to valid.

        Raises:
            SubstitutionError: no substituter has it, or something it refers to, whole and intact.
        """
        if self._store.is_valid(path):
            return
        self.fetch_all([path])

    def fetch_all(self, paths: Collection[StorePath], held: frozenset[StorePath] = frozenset()) -> None:
        """Make paths and everything they refer to valid, as far as possible.

        `held` are those that wait for these. Whoever is waited for waits for nobody else: what others are fetching is
        fetched again then, for those may be waiting for what is held.

        Raises:
            SubstitutionError: the first that could not be had; the others are there.
        """
        plan = self._plan(paths)
        for info in plan:
            self._store.add_temp_root(info.path)
        claims, others = self._claim([info for info in plan if info.path not in held], alone=bool(held))
        groups = fetch_groups([info for info in plan if info.path in claims], _WORKERS)
        try:
            if len(groups) == 1:
                errors = [self._fetch_group(groups[0], claims, held)]
            elif groups:
                from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  8 ms, for who fetches

                keep_freed_memory()
                with ThreadPoolExecutor(min(_WORKERS, len(groups)), "fetch") as pool:
                    errors = list(pool.map(lambda group: self._fetch_group(group, claims, held), groups))
            else:
                errors = []
        finally:
            self._release(claims)
        for other in others:
            other.wait()
        for error in errors:
            if error is not None:
                raise error
        for path in paths:
            if not self._store.is_valid(path):
                failures = [other.failure for other in others if other.failure is not None]
                shown = self._store.directory.print(path)
                raise failures[0] if failures else SubstitutionError(f"path '{shown}' was lost", path, missing=False)

    def take(self, intake: Intake, path: StorePath) -> tuple[Tree, PathInfo]:
        """Take one path in from the first substituter that has it whole and intact. Nothing is registered.

        Raises:
            SubstitutionError: none has.
        """
        directory = self._store.directory
        answered = self._found.get(path)
        errors: list[str] = []
        missing = True
        for source, narinfo in self._renewed(path, self._candidates(path, answered)):
            try:
                self._trust.check(narinfo.info, source.uri, source_is_trusted=source.is_trusted)
                if self.pause_before_each is not None:
                    self.pause_before_each()
                self._on_path(path, source.uri)
                with source.open_nar(narinfo) as pieces:
                    tree = take_nar(intake, narinfo.info, pieces, source.uri, directory)
            except StoreError as error:
                missing = missing and isinstance(error, (GoneError, UnsignedPathError))
                text = str(error)
                if path.base_name not in text or source.uri not in text:
                    text = f"fetching path '{directory.print(path)}' from '{source.uri}' failed: {text}"
                warn(text)
                errors.append(text)
            else:
                return tree, narinfo.info
        if not errors:
            raise SubstitutionError(f"no substituter has path '{directory.print(path)}'", path, missing=True)
        raise SubstitutionError(
            f"path '{directory.print(path)}' could not be fetched from any substituter: {errors[-1]}",
            path,
            missing=missing,
        )

    def _plan(self, paths: Collection[StorePath]) -> list[PathInfo]:
        """What has to be fetched, references first.

        Raises:
            SubstitutionError: nobody has something that is needed.
        """
        found = self.closure(paths)
        wanted: dict[StorePath, PathInfo] = {}
        todo = [(path, path) for path in paths]
        while todo:
            path, wanted_by = todo.pop()
            if path in wanted or self._store.is_valid(path):
                continue
            answer = found.get(path)
            if answer is None:
                shown = self._store.directory.print(path)
                reason = "" if path == wanted_by else f", which '{self._store.directory.print(wanted_by)}' refers to"
                raise SubstitutionError(f"no substituter has path '{shown}'{reason}", path, missing=True)
            wanted[path] = answer[1].info
            todo.extend((reference, path) for reference in answer[1].info.references)
        return topological(wanted.values())

    def _claim(self, plan: Sequence[PathInfo], *, alone: bool) -> tuple[_Claims, list[_Claim]]:
        """Take what nobody else is fetching; whoever claims later waits, so nobody waits in a circle.

        With `alone` all of it is taken, and there is nobody to wait for.
        """
        claims: _Claims = {}
        others = []
        with self._lock:
            for info in plan:
                event = self._under_way.get(info.path)
                if event is None:
                    self._under_way[info.path] = claims[info.path] = _Claim()
                elif alone:
                    claims[info.path] = _Claim()
                else:
                    others.append(event)
        return claims, others

    def _release(self, claims: Mapping[StorePath, _Claim]) -> None:
        with self._lock:
            for path, event in claims.items():
                if self._under_way.get(path) is event:
                    del self._under_way[path]
                event.set()

    def _fetch_group(
        self, group: Sequence[PathInfo], claims: _Claims, held: frozenset[StorePath]
    ) -> SubstitutionError | None:
        """Fetch some paths and register them together; returns the first failure."""
        failure: SubstitutionError | None = None
        inside = {info.path for info in group}
        failed: set[StorePath] = set()
        try:
            with self._store.intake() as intake:
                done: list[tuple[Tree, PathInfo]] = []
                self._prefetch(group)
                for info in group:
                    try:
                        if not failed.isdisjoint(info.references):
                            failed.add(info.path)
                            claims[info.path].failure = failure
                            continue
                        taken = self.take(intake, info.path)
                    except SubstitutionError as error:
                        failed.add(info.path)
                        claims[info.path].failure = error
                        failure = failure or error
                        continue
                    done.append(taken)
                intake.prepare()  # before waiting for groups that do the same
                untold = self._await_references(done, claims, held | inside, alone=bool(held))
                if untold:
                    self._fetch_untold(untold, intake, done, held | inside)
                ready = self._registrable(done)
                if ready:
                    intake.register(ready)
                if failure is None and len(ready) < len(group):
                    lost = next(i.path for i in group if i.path not in {each.path for _, each in ready})
                    failure = SubstitutionError(
                        f"path '{self._store.directory.print(lost)}' was not registered because something "
                        "it refers to could not be fetched",
                        lost,
                        missing=False,
                    )
        except StoreError as error:
            failure = failure or SubstitutionError(str(error), group[0].path, missing=False)
        finally:
            self._release({info.path: claims[info.path] for info in group})
        return failure

    def _prefetch(self, group: Sequence[PathInfo]) -> None:
        """Let the sources fetch the small ones among some paths at once."""
        by_source: dict[Source, list[NarInfo]] = {}
        for info in group:
            source, narinfo = self._found[info.path]
            try:
                self._trust.check(narinfo.info, source.uri, source_is_trusted=source.is_trusted)
            except StoreError:
                continue  # said when it is its turn
            by_source.setdefault(source, []).append(narinfo)
        if self.pause_before_each is not None:
            self.pause_before_each()
        for source, narinfos in by_source.items():
            source.prefetch(narinfos)

    def _await_references(
        self, done: Sequence[tuple[Tree, PathInfo]], claims: _Claims, held: Collection[StorePath], *, alone: bool
    ) -> set[StorePath]:
        """Wait for what other threads are fetching and these paths refer to; those groups began earlier.

        With `alone` only for those that are part of the same fetch.
        Returns what nobody fetches: it was not told by the source that was asked first, and not believed.
        """
        untold: set[StorePath] = set()
        for _, info in done:
            for reference in info.references:
                if reference not in held:
                    event = claims.get(reference)
                    if event is None and not alone:
                        with self._lock:
                            event = self._under_way.get(reference)
                    if event is not None:
                        event.wait()
                    elif not self._store.is_valid(reference):
                        untold.add(reference)
        return untold

    def _fetch_untold(
        self, untold: set[StorePath], intake: Intake, done: Sequence[tuple[Tree, PathInfo]], held: frozenset[StorePath]
    ) -> None:
        """Fetch references that are known only now; they may refer to paths of this group, which go first."""
        while untold:
            ready = self._registrable(done)
            if ready:
                intake.register(ready)
            failure = None
            try:
                self.fetch_all(untold, held)
            except SubstitutionError as error:
                failure = error
            left = untold - self._store.valid_paths(untold)
            if len(left) == len(untold):
                if failure is not None:
                    warn(str(failure))
                return
            untold = left

    def _registrable(self, done: Sequence[tuple[Tree, PathInfo]]) -> list[tuple[Tree, PathInfo]]:
        """Those whose references are valid or among them, in an order that lets one pass decide."""
        good: set[StorePath] = set()
        ready = []
        for tree, info in done:
            if all(each in good or each == info.path or self._store.is_valid(each) for each in info.references):
                good.add(info.path)
                ready.append((tree, info))
        return ready

    def _candidates(self, path: StorePath, answered: tuple[Source, NarInfo] | None) -> Iterable[tuple[Source, NarInfo]]:
        """Who has the path: first who said so, then the others, asked only when they are needed."""
        tried = None
        if answered is not None:
            tried = answered[0]
            yield answered
        for source in self.sources:
            if source is not tried:
                found = query([source], [path]).get(path)
                if found is not None:
                    yield found

    def _renewed(
        self, path: StorePath, candidates: Iterable[tuple[Source, NarInfo]]
    ) -> Iterator[tuple[Source, NarInfo]]:
        """Yield candidates; and when one did not do, what its source says now, if that is something else.

        What was remembered may be out of date: the cache has another file by now, or none.
        """
        for source, narinfo in candidates:
            yield source, narinfo
            source.forget(path)
            found = query([source], [path]).get(path)
            if found is not None and found[1] != narinfo:
                yield found

    def _report(self, path: StorePath, uri: str) -> None:
        log(INFO, f"copying path '{self._store.directory.print(path)}' from '{uri}'...")
