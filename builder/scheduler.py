"""Realises targets: starts what can be started, in threads, and waits for what comes back.

Synchronous on purpose, as stores are: a command that builds one small derivation would otherwise spend twice the time
of the build on importing an event loop. `local_builder` offers the same to callers under trio.

One `Run` belongs to one call. Its coordinator is the calling thread: it alone touches the goals. Each build and each
fetch is a job in a thread of its own, which reports through a queue; a job knows its goal's request and nothing of the
graph. When the first goal fails (without `keep-going`) or the caller is interrupted, the others are cancelled, and the
coordinator still waits until every job has returned: so nothing is left behind.
"""

from __future__ import annotations

import time
from itertools import islice

from builder import progress as told
from builder.cancellation import Cancellation
from builder.environment import BadAttributeError
from builder.failed_builds import build_unless_failed
from builder.failures import BuildError, CancelledError, combined_exit_code
from builder.goal import Goal, Phase
from builder.goals import GoalGraph
from builder.jobs import Jobs
from builder.ready import Attempt, ReadyBuilds
from builder.request import BusyError, Request
from storefs import logs
from storefs.api import BuildMode, BuildResult, BuildStatus, CpuTime
from storefs.errors import StoreError
from storefs.experimental import CA_DERIVATIONS, has_feature
from storefs.formats.resolution import must_resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.goal import Fetcher
    from builder.machine import LocalMachine
    from builder.request import OtherMachines
    from storefs.formats.derived_path import DerivedPath
    from storefs.formats.store_path import StorePath

_FETCHES = 16  # at once; the connections they share are limited elsewhere
_BUSY_SECONDS = 0.1  # how often a lock that another process holds is tried again

_Report = tuple[Goal, BuildStatus | BaseException, CpuTime | None, bool]


class Run:
    """One call to realise some targets.

    Args:
        machine: builds here.
        fetcher: downloads; None when substitution is off.
        remote: builds elsewhere; None when there are no other machines.
        cancellation: stops everything.
    """

    def __init__(
        self,
        machine: LocalMachine,
        fetcher: Fetcher | None,
        remote: OtherMachines | None,
        cancellation: Cancellation,
    ) -> None:
        config = machine.config
        self._machine = machine
        self._store = machine.store
        self._fetcher = fetcher
        self._remote = remote
        self._cancellation = cancellation
        self._keep_going = config.boolean("keep-going")
        self._fallback = config.boolean("fallback")
        self._slots = config.max_jobs
        self._floating_allowed = has_feature(config, CA_DERIVATIONS)
        self._graph = GoalGraph(machine.store, fetcher, machine.evaluated, floating_allowed=self._floating_allowed)
        self._jobs = Jobs()
        self._ready = ReadyBuilds()
        self._fetches: list[Goal] = []
        self._busy: list[Goal] = []
        self._building = 0
        self._fetching = 0
        self._exit_codes: list[int] = []
        self._active: set[Goal] = set()
        self._failed: set[Goal] = set()
        self._started: dict[StorePath, int] = {}
        self._stopped: dict[StorePath, int] = {}

    def realise(
        self,
        targets: Sequence[DerivedPath],
        mode: BuildMode = BuildMode.NORMAL,
        corrupt: frozenset[StorePath] = frozenset(),
    ) -> list[BuildResult]:
        """Realise all targets and return one result for each, in order.

        Args:
            targets: what is wanted.
            mode: NORMAL, or CHECK and REPAIR to build valid outputs again.
            corrupt: with REPAIR, the outputs that are to be replaced.

        Raises:
            StoreError: nothing could be attempted.
        """
        goals = self._graph.add_targets(targets, mode)
        for goal in goals:
            goal.corrupt = corrupt
        self._machine.progress.expect(
            sum(goal.phase is Phase.BUILD for goal in self._graph.goals.values()),
            sum(goal.phase is Phase.FETCH for goal in self._graph.goals.values()),
            self._graph.download_size(),
        )
        for goal in list(self._graph.goals.values()):
            if goal.phase is Phase.FAILED:
                self._settle_failure(goal)
        for goal in self._graph.goals.values():
            self._add_if_ready(goal)
        try:
            self._loop(goals)
        except BaseException:
            self._cancellation.cancel()
            raise
        finally:
            for report in self._jobs.rest():
                self._take(report)
        return [self._result(target, goal) for target, goal in zip(targets, goals, strict=True)]

    def _loop(self, targets: Sequence[Goal]) -> None:
        while not self._cancellation.cancelled:
            if all(goal.phase in {Phase.DONE, Phase.FAILED} for goal in targets):
                return
            if any(goal.phase is Phase.FAILED for goal in targets) and not self._keep_going:
                break
            settled = len(self._failed)
            self._start_some()
            if len(self._failed) > settled:
                continue  # what something was resolved to can't be had
            if not self._jobs and not self._busy and not self._ready.postponed:
                if self._slots == 0 and self._ready:
                    raise BuildError("unable to start any build; either increase '--max-jobs' or enable remote builds")
                raise AssertionError("goals remain, and nothing can be done for them")
            report = self._jobs.report(self._patience())
            if report is None:
                busy, self._busy = self._busy, []
                for goal in busy:
                    self._add_if_ready(goal)
                # Builds fill the disk without adding anything until they end.
                self._machine.store.collect_if_low()
                continue
            self._take(report)
        self._cancellation.cancel()

    def _patience(self) -> float | None:
        """How many seconds to wait for a report: until a busy machine is asked again, or the disk is looked at."""
        config = self._machine.config
        look = max(1, config.integer("min-free-check-interval")) if config.integer("min-free") else None
        if not self._busy and not self._ready.postponed:
            return look
        return _BUSY_SECONDS if look is None else min(_BUSY_SECONDS, look)

    def _add_if_ready(self, goal: Goal) -> None:
        """Line a goal up when nothing that it needs is missing."""
        if not goal.can_start():
            return
        if goal.phase is Phase.FETCH:
            self._fetches.append(goal)
        else:
            self._ready.add(goal)

    def _start_some(self) -> None:
        """Start every goal for which there is a machine."""
        self._ready.start(self._start_build)  # what something is resolved to may be there to be fetched
        self._fetches.sort(key=Goal.order, reverse=True)
        while self._fetches and self._fetching < _FETCHES:
            goal = self._fetches.pop()
            self._fetching += 1
            self._start(goal, lambda goal=goal: self._fetch(goal), local=False)  # type: ignore[misc]

    def _start_build(self, goal: Goal) -> Attempt:
        """Start a build here or elsewhere, if there is a place for it."""
        assert goal.derivation is not None
        if must_resolve(goal.derivation, floating_allowed=self._floating_allowed):
            if goal.resolved is None:
                self._extend(goal, lambda: self._graph.resolve(goal))
            else:
                from builder.realising import adopt  # noqa: PLC0415  only for what floats

                self._start(goal, lambda: adopt(self._machine, goal), local=False)
            return Attempt.STARTED
        local = self._building < self._slots
        if self._remote is not None and goal.mode is BuildMode.NORMAL:
            try:
                slot = self._remote.reserve(goal.path, goal.derivation, local_possible=local)
            except BusyError as error:
                self._tell_busy(goal, error)
                return Attempt.POSTPONED
            except BadAttributeError:
                slot = None  # it will fail here, and say so
            if slot is not None:
                request = self._request(goal)
                self._start(goal, lambda: slot.build(request, self._cancellation), local=False)
                return Attempt.STARTED
        if not local:
            return Attempt.NO_ROOM
        self._building += 1
        request = self._request(goal)
        self._start(goal, lambda: build_unless_failed(self._machine, request, self._cancellation), local=True)
        return Attempt.STARTED

    def _request(self, goal: Goal) -> Request:
        assert goal.derivation is not None
        names = ",".join(sorted(goal.wanted)) if goal.wanted is not None else "*"
        shown = self._store.directory.print(goal.path)
        return Request(
            goal.path,
            goal.derivation,
            self._graph.inputs(goal),
            goal.mode,
            f"building of '{shown}!{names}' from .drv file",
            goal.corrupt,
        )

    def _start(self, goal: Goal, work: Callable[[], CpuTime | None], *, local: bool) -> None:
        self._active.add(goal)
        self._started.setdefault(goal.path, int(time.time()))

        def job() -> _Report:
            outcome: BuildStatus | BaseException
            used = None
            try:
                if goal.evaluated_sources:
                    self._copy_evaluated(goal.evaluated_sources)
                for path in goal.sources:
                    assert self._fetcher is not None
                    self._fetcher.fetch(path)
                used = work()
                outcome = BuildStatus.SUBSTITUTED if goal.phase is Phase.FETCH else BuildStatus.BUILT
            except BaseException as error:
                outcome = error
            return goal, outcome, used, local

        self._jobs.start(job)

    def _copy_evaluated(self, paths: list[StorePath]) -> None:
        """Copy sources of a build from the store in which its derivation was evaluated."""
        from storefs.stores.copy_between import copy_all  # noqa: PLC0415  nearly nobody evaluates in another store

        assert self._machine.evaluated is not None
        copy_all(self._machine.evaluated, self._store, paths)

    def _fetch(self, goal: Goal) -> None:
        assert self._fetcher is not None
        progress = self._machine.progress
        for path in goal.paths():
            if self._store.is_valid(path):
                continue
            shown = self._store.directory.print(path)
            # Whoever fetches says so in lines; this is for a display that shows what goes on.
            activity = progress.start(told.SUBSTITUTE, path.name, f"fetching '{shown}'", [shown], logs.TALKATIVE)
            ok = False
            try:
                self._fetcher.fetch(path)
                ok = True
            finally:
                progress.stop(activity, ok=ok)
            offer = self._graph.offered.get(path)
            progress.received(offer.download_size if offer is not None else 0)
        if goal.realisations:
            self._machine.store.register_realisations(goal.realisations, goal.path)

    def _tell_busy(self, goal: Goal, error: BusyError) -> None:
        """Say once what a goal waits for."""
        text = str(error)
        if goal.told_busy != text:
            goal.told_busy = text
            self._machine.progress.waiting(text)

    def _take(self, report: _Report) -> None:
        """Take in what a job reported."""
        goal, outcome, used, local = report
        goal.cpu_time = used
        self._active.discard(goal)
        self._building -= local
        self._fetching -= goal.phase is Phase.FETCH
        self._stopped[goal.path] = int(time.time())
        if isinstance(outcome, BuildStatus):
            if outcome is BuildStatus.SUBSTITUTED and goal.unknown():
                self._extend(goal, lambda: self._graph.finish(goal, outcome))
            else:
                self._graph.finish(goal, outcome)
            if goal.phase is Phase.DONE:
                self._release(goal)
        elif isinstance(outcome, BusyError):
            self._tell_busy(goal, outcome)
            self._busy.append(goal)
        elif isinstance(outcome, StoreError):
            if goal.phase is Phase.FETCH and self._after_failed_fetch(goal, outcome):
                return
            goal.phase = Phase.FAILED
            goal.failure = outcome if isinstance(outcome, BuildError) else BuildError(str(outcome))
            goal.cpu_time = goal.failure.cpu_time
            self._settle_failure(goal)
        else:
            # A bug: the coordinator raises it, after the others were cancelled.
            goal.phase = Phase.FAILED
            raise outcome

    def _after_failed_fetch(self, goal: Goal, error: StoreError) -> bool:
        """Build what could not be fetched, where that is allowed."""
        from storefs.stores.substitution import SubstitutionError  # noqa: PLC0415  it is loaded: it was raised

        if goal.derivation is None or self._cancellation.cancelled:
            return False
        missing = isinstance(error, SubstitutionError) and error.missing
        if isinstance(error, SubstitutionError) and missing and error.path not in goal.paths() and not goal.refetched:
            self._extend(goal, lambda: self._graph.refetch(goal))
            return True
        if not missing:  # what has gone, or is not believed, is as if it had never been there: a warning said so
            self._machine.progress.error(str(error))
        if not self._fallback and not missing:
            shown = self._store.directory.print(goal.path)
            goal.failure = BuildError(
                f"some substitutes for the outputs of derivation '{shown}' failed (usually happens due to networking "
                "issues); try '--fallback' to build derivation from source ",
                BuildStatus.TRANSIENT_FAILURE,
            )
            goal.phase = Phase.FAILED
            self._settle_failure(goal)
            return True
        self._extend(goal, lambda: self._graph.rebuild(goal))
        return True

    def _extend(self, goal: Goal, change: Callable[[], None]) -> None:
        """Let a change give a goal more needs, and start on those."""
        goals = self._graph.goals
        before = len(goals)
        needs = set(goal.needs)
        change()
        goal.failed_needs += sum(need in self._failed for need in goal.needs - needs)
        for added in list(islice(reversed(goals.values()), len(goals) - before)):  # dicts keep the order of additions
            if added.phase is Phase.FAILED:
                self._settle_failure(added)
            else:
                self._add_if_ready(added)
        if goal.failed_needs:
            self._give_up(goal)
        self._add_if_ready(goal)
        if goal.phase is Phase.FAILED and goal not in self._failed:
            self._settle_failure(goal)

    def _release(self, goal: Goal) -> None:
        """Start looking at the goals that waited for this one."""
        for waiting in goal.needed_by:
            if waiting.failed_needs:
                self._give_up(waiting)
            elif waiting not in self._active:
                self._add_if_ready(waiting)

    def _settle_failure(self, goal: Goal, *, counted: bool = False) -> None:
        """Note a failure, unless it is `counted` already, and let those fail that needed what is not there now."""
        failure = goal.failure
        assert failure is not None
        goal.status = failure.status
        self._failed.add(goal)
        if isinstance(failure, CancelledError):
            return
        if failure.status is not BuildStatus.DEPENDENCY_FAILED and not counted:
            self._exit_codes.append(failure.exit_code)
        if any(waiting.resolved is not goal for waiting in goal.needed_by):
            self._machine.progress.error(str(failure))
        for waiting in sorted(goal.needed_by, key=Goal.order):
            if waiting.resolved is goal:
                waiting.phase, waiting.failure = Phase.FAILED, failure
                self._settle_failure(waiting, counted=True)
                continue
            waiting.failed_needs += 1
            self._give_up(waiting)

    def _give_up(self, goal: Goal) -> None:
        """Let a goal fail that lacks what failed; with `keep-going` when it is known of everything that it needs."""
        unsettled = any(need.phase not in {Phase.DONE, Phase.FAILED} for need in goal.needs)
        waits = goal.phase is Phase.BUILD or (goal.phase is Phase.FETCH and goal.refetched)
        if waits and not (self._keep_going and unsettled):
            goal.phase = Phase.FAILED
            shown = self._store.directory.print(goal.path)
            text = f"{goal.failed_needs} dependencies of derivation '{shown}' failed to build"
            goal.failure = BuildError(text, BuildStatus.DEPENDENCY_FAILED)
            self._settle_failure(goal)

    def _result(self, target: DerivedPath, goal: Goal) -> BuildResult:
        times = (self._started.get(goal.path, 0), self._stopped.get(goal.path, 0), goal.cpu_time)
        if goal.phase is Phase.DONE:
            # Other targets may want more of the same derivation.
            outputs = {name: path for name, path in goal.outputs().items() if target.wants(name)}
            return BuildResult(target, goal.status, outputs, "", 0, *times)
        code = combined_exit_code(self._exit_codes)
        failure = goal.failure
        if failure is None or isinstance(failure, CancelledError):
            return BuildResult(target, BuildStatus.MISC_FAILURE, {}, "", code, *times)
        return BuildResult(target, failure.status, {}, str(failure), code, *times)
