"""Operands that mean outputs of derivations, where those outputs have realisations: what `nix copy` copies along.

Used with the experimental feature `ca-derivations` only.
"""

from __future__ import annotations

from storefs.commands.operations.operands import to_path_and_outputs
from storefs.errors import StoreError
from storefs.stores.derivation_outputs import DerivationOutputs, realisation_closure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.api import Store
    from storefs.formats.realisation import Realisation
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation
    from storefs.stores.derivation_outputs import Realised


class NotBuiltError(StoreError):
    """The path of an output is not known where it is asked for."""


def split_operands(invocation: Invocation) -> tuple[list[str], list[str]]:
    """The operands that mean outputs of derivations, and the others."""
    built: list[str] = []
    others: list[str] = []
    for operand in invocation.operands:
        path, mark, _ = operand.partition("!")
        is_built = bool(mark) or (
            invocation.program == "nix" and path.endswith(".drv") and not invocation.flag("--derivation")
        )
        (built if is_built else others).append(operand)
    return built, others


def find_outputs(store: Store, origin: Realised, operands: Iterable[str]) -> tuple[set[StorePath], list[Realisation]]:
    """The paths of outputs, and their realisations with what those rest on, dependencies first.

    Args:
        store: has the derivations.
        origin: knows what the outputs are.
        operands: `DRV` or `DRV!OUTPUT,OUTPUT`.

    Raises:
        NotBuiltError: nobody knows the path of one.
        NotRealisedError: what a realisation rests on is not known.
    """
    outputs = DerivationOutputs(store)
    paths: set[StorePath] = set()
    found: list[Realisation] = []
    for operand in operands:
        path, names = to_path_and_outputs(store.directory, operand)
        derivation = store.derivation(path)
        ids = outputs.ids(derivation)
        for name in names or sorted(derivation.outputs):
            shown = store.directory.print(path)
            if name not in derivation.outputs:
                raise StoreError(f"derivation '{shown}' does not have an output named '{name}'")
            realisation = origin.realisation(ids[name])
            known = realisation.path if realisation is not None else derivation.outputs[name].path
            if known is None:
                raise NotBuiltError(
                    f"cannot operate on an output of unbuilt content-addressed derivation '{ids[name]}'"
                )
            paths.add(known)
            if realisation is not None:
                found.append(realisation)
    return paths, realisation_closure(origin, found)
