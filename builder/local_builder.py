"""The builder of this machine: `storefs.api.Builder` over a local store, for callers with and without trio.

`build_now` and `missing_now` block in the calling thread and need no event loop; `build` and `missing` are the same
for tasks under trio. All may be called at the same time from several threads or tasks; they share build slots through
locks on the output paths, so that nothing is built twice. What builds is loaded when something is to be built.
"""

from __future__ import annotations

import time

from builder.cancellation import Cancellation
from builder.failures import BuildError
from builder.goal import Phase
from builder.goals import GoalGraph
from storefs.api import BuildMode, BuildResult, BuildStatus, Missing
from storefs.errors import StoreError
from storefs.experimental import CA_DERIVATIONS, has_feature
from storefs.formats.derived_path import DerivedPath
from storefs.stores.known_outputs import known_outputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from builder.goal import Fetcher
    from builder.machine import LocalMachine
    from builder.request import OtherMachines
    from storefs.api import Offer
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StorePath

_BUSY_SECONDS = 0.25  # until we look again whether somebody else has finished


class LocalBuilder:
    """See the module. Made by `builder.open`."""

    def __init__(self, machine: LocalMachine, fetcher: Fetcher | None, remote: OtherMachines | None) -> None:
        self._machine = machine
        self._fetcher = fetcher
        self._remote = remote

    def build_now(
        self,
        targets: Sequence[DerivedPath],
        mode: BuildMode = BuildMode.NORMAL,
        cancellation: Cancellation | None = None,
    ) -> list[BuildResult]:
        """Realise all targets; see `storefs.api.Builder.build`. Blocks.

        Raises:
            StoreError: nothing could be attempted.
            KeyboardInterrupt: passed on after every build of this call was ended.
        """
        if cancellation is None:
            with Cancellation() as own:
                return self.build_now(targets, mode, own)
        if mode is BuildMode.REPAIR:
            from builder.repair import repair  # noqa: PLC0415  see the module

            return repair(self._machine, self._fetcher, targets, cancellation)
        from builder.scheduler import Run  # noqa: PLC0415  see the module

        return Run(self._machine, self._fetcher, self._remote, cancellation).realise(targets, mode)

    def build_derivation_now(
        self, path: StorePath, derivation: Derivation, mode: BuildMode, cancellation: Cancellation
    ) -> BuildResult:
        """Build one derivation that need not be in the store, whose inputs are valid: what other machines ask for.

        Blocks. Like every build it waits while somebody else builds the same.
        """
        from builder.derivation_builder import build_derivation  # noqa: PLC0415  see the module
        from builder.preconditions import require_buildable  # noqa: PLC0415
        from builder.request import BusyError, Request  # noqa: PLC0415

        target = DerivedPath(path, ())
        store = self._machine.store
        require_buildable(self._machine.config, derivation, store.directory.print(path))
        outputs = known_outputs(store, derivation)
        there = len(outputs) == len(derivation.outputs) and store.valid_paths(outputs.values()) == set(outputs.values())
        if mode is BuildMode.NORMAL and there:
            return BuildResult(target, BuildStatus.ALREADY_VALID, outputs)
        name = f"building of '{self._machine.store.directory.print(path)}'"
        request = Request(path, derivation, frozenset(derivation.input_srcs), mode, name)
        begun = int(time.time())
        while True:
            try:
                used = build_derivation(self._machine, request, cancellation)
            except BusyError as error:
                self._machine.progress.waiting(str(error))
                if cancellation.wait(_BUSY_SECONDS):
                    return BuildResult(target, BuildStatus.MISC_FAILURE, {}, "cancelled", 1, begun, int(time.time()))
            except StoreError as error:
                failure = error if isinstance(error, BuildError) else BuildError(str(error))
                times = (begun, int(time.time()), failure.cpu_time)
                return BuildResult(target, failure.status, {}, str(failure), failure.exit_code, *times)
            else:
                times = (begun, int(time.time()), used)
                return BuildResult(target, BuildStatus.BUILT, known_outputs(store, derivation), "", 0, *times)

    def offers(self, paths: Collection[StorePath]) -> Mapping[StorePath, Offer]:
        """Return what the substituters say about those of `paths` that they have. Blocks."""
        return self._fetcher.offers(paths) if self._fetcher is not None else {}

    def missing_now(self, targets: Sequence[DerivedPath]) -> Missing:
        """Say what `build_now` would have to do; see `storefs.api.Builder.missing`. Blocks.

        Raises:
            StoreError: a derivation is missing or malformed.
        """
        floating = has_feature(self._machine.config, CA_DERIVATIONS)
        graph = GoalGraph(self._machine.store, self._fetcher, self._machine.evaluated, floating_allowed=floating)
        graph.add_targets(targets)
        will_build = {goal.path for goal in graph.goals.values() if goal.phase is Phase.BUILD}
        unknown = {goal.path for goal in graph.goals.values() if goal.phase is Phase.FAILED}
        fetched = [path for goal in graph.goals.values() if goal.phase is Phase.FETCH for path in goal.paths()]
        fetched += [path for goal in graph.goals.values() for path in goal.sources]
        offers = dict(graph.offered)
        will_fetch: set[StorePath] = set()
        level = set(fetched) - self._machine.store.valid_paths(fetched)
        while level and self._fetcher is not None:
            will_fetch |= level
            # Asked of the small set: a difference would walk the large one at each of a deep closure's levels.
            offers.update(self._fetcher.offers([path for path in level if path not in offers]))
            references = {
                reference
                for path in level
                if path in offers
                for reference in offers[path].info.references
                if reference not in will_fetch
            }
            level = references - self._machine.store.valid_paths(references)
        known = [offers[path] for path in will_fetch if path in offers]
        unknown |= will_fetch - offers.keys()
        return Missing(
            frozenset(will_build),
            frozenset(will_fetch & offers.keys()),
            frozenset(unknown),
            sum(offer.download_size for offer in known),
            sum(offer.info.nar_size for offer in known),
        )

    async def build(self, targets: Sequence[DerivedPath], mode: BuildMode = BuildMode.NORMAL) -> list[BuildResult]:
        """See `storefs.api.Builder`."""
        with Cancellation() as cancellation:
            return await _in_thread(lambda: self.build_now(targets, mode, cancellation), cancellation.cancel)

    async def missing(self, targets: Sequence[DerivedPath]) -> Missing:
        """See `storefs.api.Builder`."""
        import trio  # noqa: PLC0415  only those who have it already come here

        return await trio.to_thread.run_sync(self.missing_now, targets)


async def _in_thread(function: Callable[[], list[BuildResult]], cancel: Callable[[], None]) -> list[BuildResult]:
    """Run a blocking function; a cancelled task asks it to stop, and waits until it has."""
    import trio  # noqa: PLC0415

    async def watch() -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        result = await trio.to_thread.run_sync(function)
        nursery.cancel_scope.cancel()
    return result
