"""What it takes to realise some targets: which derivations must be built, which paths fetched, in which order.

A graph of goals, found level by level, so that the store and the caches are asked one question for each level and not
one for each path. Blocking (it reads the store and asks caches); nothing is built or fetched here. Used by `scheduler`.
Semantics: derivation-goal.cc of Nix 2.8 up to `inputsRealised`, without its state machine.
"""

from __future__ import annotations

from builder.environment import BuildAttributes
from builder.failures import BuildError
from builder.goal import Goal, Phase
from storefs import logs
from storefs.api import BuildMode, BuildStatus
from storefs.experimental import CA_DERIVATIONS, FeatureDisabledError
from storefs.formats.derivation import DEFERRED, FLOATING
from storefs.formats.resolution import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.goal import Fetcher
    from storefs.api import Offer, Store
    from storefs.formats.derivation import Derivation
    from storefs.formats.derived_path import DerivedPath
    from storefs.formats.store_path import StorePath
    from storefs.stores.derivation_outputs import DerivationOutputs


class GoalGraph:
    """Goals and how they depend on each other. Grows when targets are added. Not thread-safe.

    Args:
        store: what is valid.
        fetcher: what can be fetched; None when substitution is off.
        evaluated: another store, which has derivations and their sources.
        floating_allowed: whether the experimental feature `ca-derivations` is on.
    """

    def __init__(
        self,
        store: Store,
        fetcher: Fetcher | None,
        evaluated: Store | None = None,
        *,
        floating_allowed: bool = False,
    ) -> None:
        self._store = store
        self._evaluated = evaluated
        self._fetcher = fetcher
        self._floating_allowed = floating_allowed
        self._outputs_or_none: DerivationOutputs | None = None
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
        if goal.realisations:
            goal.realisations = []
            self.look_again(goal)
        self._expand([goal])

    def refetch(self, goal: Goal) -> None:
        """Let a goal's fetch wait for what a build of it would need: something it refers to is among that (row B10)."""
        goal.refetched = True
        self.rebuild(goal)
        if goal.phase is Phase.BUILD:
            goal.phase = Phase.FETCH

    def look_again(self, goal: Goal) -> None:
        """Learn which paths outputs have become."""
        assert goal.derivation is not None
        goal.made = {name: path for name, path in self._outputs.known(goal.derivation).items() if path is not None}

    def finish(self, goal: Goal, outcome: BuildStatus) -> None:
        """Note that a goal is reached, unless more is wanted of it by now than was fetched: then it is not."""
        goal.phase = Phase.DONE
        goal.status = outcome
        if goal.resolved is not None:
            reached = goal.resolved.status
            already = reached is BuildStatus.ALREADY_VALID
            goal.status = BuildStatus.RESOLVES_TO_ALREADY_VALID if already else reached
        elif goal.unknown():
            if outcome is BuildStatus.SUBSTITUTED:
                self._examine([goal], [])
            else:
                self.look_again(goal)
        elif outcome is BuildStatus.SUBSTITUTED:
            self._note_valid([goal])

    def resolve(self, goal: Goal) -> None:
        """Let another goal stand for one whose inputs are there: that of the derivation that follows from them.

        Raises:
            StoreError: the derivation can't be added.
        """
        assert goal.derivation is not None
        directory = self._store.directory
        made = {(need.path, name): path for need in goal.needs for name, path in need.made.items()}
        resolved = resolve(goal.derivation, made, directory)
        text = resolved.unparse(directory)
        path = self._store.add_text(f"{resolved.name}.drv", text, resolved.references())
        self._derivations[path] = resolved
        shown = f"'{directory.print(goal.path)}' -> '{directory.print(path)}'"
        logs.info(f"resolved derivation: {shown}...")
        other = self.goals.get(path)
        if other is None:
            other = self.goals[path] = Goal(path, None, set(), goal.mode)
            other.corrupt = goal.corrupt
        more = _want(other, goal.wanted)
        goal.resolved = other
        goal.needs = {other}
        other.needed_by.add(goal)
        # One that is under way makes all outputs, or is looked at again when it is done.
        if other.derivation is None or (more and other.phase is Phase.DONE):
            self._examine([other], [])
        if other.phase is Phase.FAILED:
            goal.phase, goal.failure = other.phase, other.failure

    @property
    def _outputs(self) -> DerivationOutputs:
        if self._outputs_or_none is None:
            from storefs.stores.derivation_outputs import DerivationOutputs  # noqa: PLC0415  for what floats

            self._outputs_or_none = DerivationOutputs(self._store, self.derivation)
        return self._outputs_or_none

    def _note_valid(self, goals: Iterable[Goal]) -> None:
        """With what floats there is a record of what every output is, also where the derivation says so itself."""
        if self._floating_allowed:
            from builder.realising import note_valid  # noqa: PLC0415  see above

            made = [(goal.derivation, goal.outputs()) for goal in goals if goal.derivation is not None]
            note_valid(self._outputs, self._store, made)

    def download_size(self) -> int:
        """How many bytes the fetches that are known of will take, without what their paths refer to."""
        paths = {path for goal in self.goals.values() if goal.phase is Phase.FETCH for path in goal.paths()}
        return sum(self.offered[path].download_size for path in paths if path in self.offered)

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
            made = self.goals[path].made
            for name in names:
                if name not in made:
                    raise BuildError(
                        f"derivation '{self._store.directory.print(path)}' does not have wanted outputs '{name}'"
                    )
                found.add(made[name])
        return frozenset(found)

    def _examine(self, built: list[Goal], opaque: list[Goal]) -> None:
        """Find out what is to be done for goals, and for what they need, level by level."""
        self._load([goal for goal in built if goal.derivation is None])
        missing_of = self._missing(built, opaque)
        offered = self._offers(path for goal, paths in missing_of.items() if _may_fetch(goal) for path in paths)
        to_build, there = [], []
        for goal, missing in missing_of.items():
            if not missing and goal.mode is BuildMode.NORMAL:
                goal.phase = Phase.DONE
                there.append(goal)
            elif missing and _may_fetch(goal) and not goal.unknown() and offered.issuperset(missing):
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
        self._note_valid(there)
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
            if goal.derivation.kind() in {FLOATING, DEFERRED}:
                if not self._floating_allowed:
                    raise FeatureDisabledError(CA_DERIVATIONS)
                self.look_again(goal)
            else:
                outputs = goal.derivation.outputs
                goal.made = {name: output.path for name, output in outputs.items() if output.path is not None}

    def _missing(self, built: list[Goal], opaque: list[Goal]) -> dict[Goal, list[StorePath]]:
        directory = self._store.directory
        for goal in built:
            assert goal.derivation is not None
            unknown = sorted((goal.wanted or set()) - goal.derivation.outputs.keys())
            if unknown:
                listed = ", ".join(f"'{name}'" for name in unknown)
                raise BuildError(f"derivation '{directory.print(goal.path)}' does not have wanted outputs {listed}")
            if goal.unknown() and _may_fetch(goal):
                self._ask_what_outputs_are(goal)
        goals = [*built, *opaque]
        for goal in goals:
            for path in goal.paths():
                self._store.add_temp_root(path)
        valid = self._store.valid_paths([path for goal in goals for path in goal.paths()])
        missing = {goal: [path for path in goal.paths() if path not in valid] for goal in goals}
        for goal in built:
            # What nobody knows the path of is not there, and nobody offers it.
            if goal.unknown():
                missing[goal] = [goal.path]
        return missing

    def _ask_what_outputs_are(self, goal: Goal) -> None:
        assert goal.derivation is not None
        if self._fetcher is None:
            return
        ids = self._outputs.ids(goal.derivation)
        for name in goal.unknown():
            found = self._fetcher.realisations(ids[name])
            if found:
                goal.made[name] = found[-1].path
                goal.realisations += found

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
