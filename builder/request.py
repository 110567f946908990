"""What a scheduler asks of whoever builds, here or elsewhere. A value and a signal, nothing else."""

from __future__ import annotations

from storefs.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.api import BuildMode
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StorePath


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
