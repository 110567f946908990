"""What a scheduler asks of whoever builds, here or elsewhere: a value, a signal and interfaces, nothing else."""

from __future__ import annotations

from storefs.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from builder.cancellation import Cancellation
    from storefs.api import BuildMode
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StorePath
else:
    Protocol = object


@record(frozen=True, slots=True)
class Request:
    """One derivation to build.

    Attributes:
        drv_path, derivation: which.
        inputs: store paths that it needs, all valid; their closure is what the builder sees.
        mode: what to do with outputs that are valid.
        name: as in "building of '/nix/store/...-x.drv!out' from .drv file", for messages.
        corrupt: with REPAIR, the outputs whose contents are bad.
    """

    drv_path: StorePath
    derivation: Derivation
    inputs: frozenset[StorePath]
    mode: BuildMode
    name: str
    corrupt: frozenset[StorePath] = frozenset()


class BusyError(Exception):
    """Somebody else builds this now, or every build user is taken. Not a failure: try again later."""


class Slot(Protocol):
    """A place on another machine, or with a build hook."""

    def build(self, request: Request, cancellation: Cancellation) -> None:
        """Build there and make the outputs valid here. Blocks; raises as `build_derivation` does."""


class OtherMachines(Protocol):
    """Whoever else can build."""

    def reserve(self, path: StorePath, derivation: Derivation, *, local_possible: bool) -> Slot | None:
        """Find a place; None when the derivation is to be built here. Raises BusyError when it must wait."""

    def close(self) -> None:
        """Let go of everything."""
