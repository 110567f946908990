"""One thing to be realised: a derivation some of whose outputs are wanted, or a path; and who can fetch paths.

Values, changed by `goals` and `scheduler` alone.
"""

from __future__ import annotations

from storefs.api import BuildMode, BuildStatus
from storefs.records import Enum, field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Protocol

    from builder.failures import BuildError
    from storefs.api import CpuTime, Offer
    from storefs.formats.derivation import Derivation
    from storefs.formats.realisation import DrvOutput, Realisation
    from storefs.formats.store_path import StorePath
else:
    Protocol = object


class Fetcher(Protocol):
    """Copies paths from substituters. Blocking, thread-safe."""

    def offers(self, paths: Collection[StorePath]) -> Mapping[StorePath, Offer]:
        """Return what substituters have of `paths`."""

    def realisations(self, output: DrvOutput) -> list[Realisation]:
        """Return what substituters say an output is, after what that rests on and is not known here; else nothing."""

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
        made: the paths of outputs, by name, as far as they are known; valid only when the goal is reached.
        realisations: what to register when it was fetched, dependencies first.
        resolved: the goal that stands for it once its inputs are known, where what it makes depends on these.
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
    made: dict[str, StorePath] = field(default_factory=dict)
    realisations: list[Realisation] = field(default_factory=list)
    resolved: Goal | None = None

    def outputs(self) -> dict[str, StorePath]:
        """The wanted outputs that are known, by name."""
        return {name: path for name, path in self.made.items() if self.wanted is None or name in self.wanted}

    def unknown(self) -> list[str]:
        """The names of wanted outputs whose paths are not known."""
        if self.derivation is None:
            return []
        names = self.derivation.outputs
        return [name for name in names if name not in self.made and (self.wanted is None or name in self.wanted)]

    def paths(self) -> list[StorePath]:
        """What becomes valid when the goal is reached."""
        return [self.path] if self.derivation is None else list(self.outputs().values())

    def can_start(self) -> bool:
        """Whether nothing that it needs is missing."""
        if self.phase is Phase.FETCH and not self.refetched:
            return True
        return self.phase in (Phase.FETCH, Phase.BUILD) and all(need.phase is Phase.DONE for need in self.needs)

    def order(self) -> tuple[str, str]:
        """Goals of equal rank are tried in this order: by name, so that runs are alike."""
        return self.path.name, self.path.base_name
