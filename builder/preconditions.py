"""What holds before a derivation is built, wherever that is: it can be built, and nobody else is at it."""

from __future__ import annotations

from builder.failures import InputRejectedError
from builder.locks import try_lock
from builder.request import BusyError
from storefs.experimental import CA_DERIVATIONS, require_feature
from storefs.formats.derivation import FIXED, FLOATING, INPUT_ADDRESSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.locks import FileLocks
    from builder.machine import LocalMachine
    from builder.request import Request
    from storefs.config import Config
    from storefs.formats.derivation import Derivation


def require_buildable(config: Config, derivation: Derivation, shown: str) -> None:
    """Refuse what must first be resolved, and what nobody asked for.

    Raises:
        FeatureDisabledError: its outputs float, and the feature is off.
        InputRejectedError: it can't be built as it is.
    """
    kind = derivation.kind()
    if kind is FLOATING:
        require_feature(config, CA_DERIVATIONS)
    if kind not in {FIXED, INPUT_ADDRESSED, FLOATING}:
        raise InputRejectedError(
            f"derivation '{shown}' has outputs that are new with each build, or whose paths depend on what its inputs "
            "turn out to be; the experimental feature 'impure-derivations' is not supported"
        )


def lock_outputs(machine: LocalMachine, request: Request) -> FileLocks:
    """Lock the outputs of a derivation, by their paths or, where these are not known, by its own.

    Raises:
        BusyError: somebody else is at it.
    """
    print_path = machine.store.directory.print
    names, shown = [], []
    for name, output in sorted(request.derivation.outputs.items()):
        names.append(f"{request.drv_path.base_name}.{name}" if output.path is None else output.path.base_name)
        shown.append(f"{print_path(request.drv_path)}.{name}" if output.path is None else print_path(output.path))
    locks = try_lock(f"{machine.config.verglas_dir}/locks", names)
    if locks is None:
        raise BusyError(f"waiting for lock on {', '.join(sorted(repr(each) for each in shown))}")
    return locks
