"""The outputs of a derivation whose paths are known. Costs nothing where the derivation says all of them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.api import Store
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StorePath


def known_outputs(store: Store, derivation: Derivation) -> dict[str, StorePath]:
    """The paths of outputs, valid or not, by name; those that nobody knows before they are built are left out."""
    paths = {name: output.path for name, output in derivation.outputs.items()}
    if None in paths.values():
        from storefs.stores.derivation_outputs import DerivationOutputs  # noqa: PLC0415  json, for what floats

        paths = DerivationOutputs(store).known(derivation)
    return {name: path for name, path in paths.items() if path is not None}
