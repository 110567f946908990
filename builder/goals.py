"""What it takes to realise some targets: which derivations must be built, which paths fetched, in which order.

A graph of goals, found level by level, so that the store and the caches are asked one question for each level and not
one for each path. Blocking (it reads the store and asks caches); nothing is built or fetched here. Used by `scheduler`.
Semantics: derivation-goal.cc of Nix 2.8 up to `inputsRealised`, without its state machine.
"""

from __future__ import annotations

from enum import Enum

from builder.environment import BuildAttributes
from builder.failures import BuildError
from storefs.api import BuildMode, BuildStatus
from storefs.records import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Protocol

    from storefs.api import CpuTime, Offer, Store
    from storefs.formats.derivation import Derivation
    from storefs.formats.derived_path import DerivedPath
    from storefs.formats.store_path import StorePath
else:
    Protocol = object


class Fetcher(Protocol):
    """Copies paths from substituters. Blocking, thread-safe."""

    def offers(self, paths: Collection[StorePath]) -> Mapping[StorePath, Offer]:
        """Return what substituters have of `paths`."""

    def fetch(self, path: StorePath) -> None:
        """Make a path and everything it refers to valid.

        Raises:
            StoreError: no substituter has it whole and intact.
        """

    def mend(self, path: StorePath) -> None:
        """Put the contents that a valid path was registered with in the place of damaged ones.

        Raises:
            StoreError: no substituter has them.
        """


class Phase(Enum):
    """What is to be done for a goal."""

    FETCH = "fetch"
    BUILD = "build"
    DONE = "done"
    FAILED = "failed"


@record(eq=False, slots=True)
class Goal:
    """A derivation some of whose outputs are wanted, or (without a derivation) a path that is.

    Attributes:
        path: of the derivation, or the path itself.
        wanted: output names; None for all of them.
        mode: CHECK and REPAIR build what is valid already.
        needs: goals that must be done first.
        needed_by: goals that wait for this one.
        sources: paths that must be fetched before it can be built.
        evaluated_sources: paths that must be copied from the store it was evaluated in.
        status: how it ended.
        failure: why it failed.
        failed_needs: how many of `needs` failed.
        refetched: its fetch lacked something it refers to, and was put off once until inputs are there.
        cpu_time: what its build took, None where nobody counted.
        told_busy: what was last said about why it has to wait.
    """

    path: StorePath
    derivation: Derivation | None
    wanted: set[str] | None
    mode: BuildMode = BuildMode.NORMAL
    phase: Phase = Phase.BUILD
    needs: set[Goal] = field(default_factory=set)
    needed_by: set[Goal] = field(default_factory=set)
    sources: list[StorePath] = field(default_factory=list)
    evaluated_sources: list[StorePath] = field(default_factory=list)
    corrupt: frozenset[StorePath] = frozenset()
    status: BuildStatus = BuildStatus.ALREADY_VALID
    failure: BuildError | None = None
    failed_needs: int = 0
    told_busy: str = ""
    refetched: bool = False
    cpu_time: CpuTime | None = None

    def outputs(self) -> dict[str, StorePath]:
        """The wanted outputs, by name."""
        if self.derivation is None:
            return {}
        return {
            name: output.path
            for name, output in self.derivation.outputs.items()
            if output.path is not None and (self.wanted is None or name in self.wanted)
        }

    def paths(self) -> list[StorePath]:
        """What becomes valid when the goal is reached."""
        return [self.path] if self.derivation is None else list(self.outputs().values())

    def order(self) -> tuple[str, str]:
        """Goals of equal rank are tried in this order: by name, so that runs are alike."""
        return self.path.name, self.path.base_name


class GoalGraph:
    """Goals and how they depend on each other. Grows when targets are added. Not thread-safe.

    Args:
        store: what is valid.
        fetcher: what can be fetched; None when substitution is off.
        evaluated: another store, which has derivations and their sources.
    """

    def __init__(self, store: Store, fetcher: Fetcher | None, evaluated: Store | None = None) -> None:
        self._store = store
        self._evaluated = evaluated
        self._fetcher = fetcher
        self._derivations: dict[StorePath, Derivation] = {}
        self.goals: dict[StorePath, Goal] = {}
        self.offered: dict[StorePath, Offer] = {}

    def add_targets(self, targets: Iterable[DerivedPath], mode: BuildMode = BuildMode.NORMAL) -> list[Goal]:
        """Add targets and all that they need; return the goals that stand for them, in order.

        Raises:
            StoreError: a derivation is missing or malformed, or lacks a wanted output.
        """
        targets = list(targets)
        goals = []
        fresh = []
        for target in targets:
            goal = self.goals.get(target.path)
            if goal is None:
                goal = Goal(target.path, None, set())
                self.goals[target.path] = goal
                fresh.append(goal)
            if target.is_built:
                # An outputs list that is empty asks for all.
                _want(goal, set(target.outputs or ()) or None)
                goal.mode = mode
                if goal not in fresh:
                    fresh.append(goal)
            goals.append(goal)
        built = {target.path for target in targets if target.is_built}
        self._examine([goal for goal in fresh if goal.path in built], [g for g in fresh if g.path not in built])
        return goals

    def rebuild(self, goal: Goal) -> None:
        """Turn a goal whose fetch failed into one that is built."""
        goal.phase = Phase.BUILD
        self._expand([goal])

    def refetch(self, goal: Goal) -> None:
        """Let a goal's fetch wait for what a build of it would need: something it refers to is among that (row B10)."""
        goal.refetched = True
        self.rebuild(goal)
        if goal.phase is Phase.BUILD:
            goal.phase = Phase.FETCH

    def derivation(self, path: StorePath) -> Derivation:
        """The derivation at a valid path; read once."""
        found = self._derivations.get(path)
        if found is None:
            evaluated = self._evaluated
            has_it = evaluated if evaluated is not None and evaluated.is_valid(path) else self._store
            found = self._derivations[path] = has_it.derivation(path)
        return found

    def inputs(self, goal: Goal) -> frozenset[StorePath]:
        """The paths that a build needs directly: sources and wanted outputs of input derivations."""
        derivation = goal.derivation
        assert derivation is not None
        found = set(derivation.input_srcs)
        for path, names in derivation.input_drvs.items():
            outputs = self.derivation(path).outputs
            for name in names:
                output = outputs.get(name)
                if output is None or output.path is None:
                    raise BuildError(
                        f"derivation '{self._store.directory.print(path)}' does not have wanted outputs '{name}'"
                    )
                found.add(output.path)
        return frozenset(found)

    def _examine(self, built: list[Goal], opaque: list[Goal]) -> None:
        """Find out what is to be done for goals, and for what they need, level by level."""
        self._load([goal for goal in built if goal.derivation is None])
        missing_of = self._missing(built, opaque)
        offered = self._offers(path for goal, paths in missing_of.items() if _may_fetch(goal) for path in paths)
        to_build = []
        for goal, missing in missing_of.items():
            if not missing and goal.mode is BuildMode.NORMAL:
                goal.phase = Phase.DONE
            elif missing and _may_fetch(goal) and offered.issuperset(missing):
                goal.phase = Phase.FETCH
            elif goal.derivation is None:
                shown = self._store.directory.print(goal.path)
                goal.phase = Phase.FAILED
                goal.failure = BuildError(
                    f"path '{shown}' is required, but there is no substituter that can build it",
                    BuildStatus.NO_SUBSTITUTERS,
                )
            elif goal.mode is BuildMode.CHECK and missing:
                shown = self._store.directory.print(goal.path)
                raise BuildError(f"some outputs of '{shown}' are not valid, so checking is not possible")
            else:
                goal.phase = Phase.BUILD
                to_build.append(goal)
        if to_build:
            self._expand(to_build)

    def _load(self, goals: list[Goal]) -> None:
        """Read derivations, fetching those that are not here; check that they have the wanted outputs."""
        directory = self._store.directory
        paths = [goal.path for goal in goals]
        valid = self._store.valid_paths(paths)
        if self._evaluated is not None:
            valid |= self._evaluated.valid_paths(paths)
        for goal in goals:
            if goal.path not in valid:
                if self._fetcher is None or goal.path not in self._offers([goal.path]):
                    raise BuildError(f"cannot build missing derivation '{directory.print(goal.path)}'")
                self._fetcher.fetch(goal.path)
            self._store.add_temp_root(goal.path)
            goal.derivation = self.derivation(goal.path)

    def _missing(self, built: list[Goal], opaque: list[Goal]) -> dict[Goal, list[StorePath]]:
        directory = self._store.directory
        for goal in built:
            assert goal.derivation is not None
            unknown = sorted((goal.wanted or set()) - goal.derivation.outputs.keys())
            if unknown:
                listed = ", ".join(f"'{name}'" for name in unknown)
                raise BuildError(f"derivation '{directory.print(goal.path)}' does not have wanted outputs {listed}")
        goals = [*built, *opaque]
        for goal in goals:
            for path in goal.paths():
                self._store.add_temp_root(path)
        valid = self._store.valid_paths([path for goal in goals for path in goal.paths()])
        missing = {goal: [path for path in goal.paths() if path not in valid] for goal in goals}
        for goal in built:
            # Outputs whose paths nobody knows beforehand are never there.
            if not goal.outputs():
                missing[goal] = [goal.path]
        return missing

    def _offers(self, paths: Iterable[StorePath]) -> set[StorePath]:
        asked = set(paths)
        if self._fetcher is not None and asked:
            self.offered.update(self._fetcher.offers(asked - self.offered.keys()))
        return asked & self.offered.keys()

    def _expand(self, goals: list[Goal]) -> None:
        """Add what builds need, then look at that."""
        fresh: list[Goal] = []
        sources = {path for goal in goals if goal.derivation is not None for path in goal.derivation.input_srcs}
        absent = sources - self._store.valid_paths(sources)
        copied = self._evaluated.valid_paths(absent) if self._evaluated is not None and absent else set()
        absent -= copied
        offered = self._offers(absent)
        for goal in goals:
            derivation = goal.derivation
            assert derivation is not None
            goal.sources = sorted(derivation.input_srcs & absent)
            goal.evaluated_sources = sorted(derivation.input_srcs & copied)
            for path in goal.sources:
                if path not in offered:
                    print_path = self._store.directory.print
                    reason = "substitution is disabled" if self._fetcher is None else "no substituter has it"
                    goal.phase = Phase.FAILED
                    goal.failure = BuildError(
                        f"dependency '{print_path(path)}' of '{print_path(goal.path)}' does not exist, and {reason}"
                    )
            if goal.phase is Phase.FAILED:
                continue
            for path, names in derivation.input_drvs.items():
                need = self.goals.get(path)
                if need is None:
                    need = self.goals[path] = Goal(path, None, set())
                    fresh.append(need)
                if _want(need, set(names)) and need not in fresh:
                    fresh.append(need)
                goal.needs.add(need)
                need.needed_by.add(goal)
        if fresh:
            self._examine(fresh, [])


def _want(goal: Goal, names: set[str] | None) -> bool:
    """Want more outputs of a goal; tell whether that is news."""
    if goal.wanted is None:
        return False
    if names is None:
        goal.wanted = None
        return True
    before = len(goal.wanted)
    goal.wanted |= names
    return len(goal.wanted) > before


def _may_fetch(goal: Goal) -> bool:
    if goal.mode is not BuildMode.NORMAL:
        return False
    return goal.derivation is None or BuildAttributes(goal.derivation).boolean("allowSubstitutes", True)
