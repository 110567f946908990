"""What the outputs of derivations are: named by the derivation, found among realisations, or not known yet.

For everybody who meets derivations whose output paths depend on what is built (experimental feature `ca-derivations`);
where all paths are written in the derivation nothing is asked. Works on any `storefs.api.Store`. Semantics:
`queryPartialDerivationOutputMap`, `staticOutputHashes` and `drvOutputReferences` of Nix 2.8.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.derivation import DEFERRED, FLOATING
from storefs.formats.derivation_hash import DerivationHasher
from storefs.formats.realisation import DrvOutput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    from storefs.api import Store
    from storefs.formats.derivation import Derivation
    from storefs.formats.realisation import Realisation
    from storefs.formats.store_path import StorePath

    class Realised(Protocol):
        """A store or a substituter: whoever knows what outputs are."""

        def realisation(self, output: DrvOutput) -> Realisation | None:
            """What an output is."""


class NotRealisedError(StoreError):
    """An output that something rests on has not been built or fetched here."""


def drv_hash_text(store: Store, derivation: Derivation) -> str:
    """The derivation's hash modulo, as identities of outputs begin."""
    digest = DerivationHasher(store.directory, store.derivation).modulo(derivation, mask_outputs=True).hash
    return digest.to_string("base16", True)


class DerivationOutputs:
    """The outputs of derivations in one store. Remembers the hashes of derivations; not thread-safe.

    Args:
        store: has the derivations and the realisations.
        read: returns the derivation at a path; the store's if None.
    """

    def __init__(self, store: Store, read: Callable[[StorePath], Derivation] | None = None) -> None:
        self._store = store
        self._read = read or store.derivation
        self._hasher = DerivationHasher(store.directory, self._read)

    def ids(self, derivation: Derivation) -> dict[str, DrvOutput]:
        """The identities of all outputs, by name. Reads the derivations that it depends on."""
        digest = self._hasher.modulo(derivation, mask_outputs=True).hash
        return {name: DrvOutput(digest, name) for name in derivation.outputs}

    def known(self, derivation: Derivation) -> dict[str, StorePath | None]:
        """The paths of all outputs, by name; None for one that nobody knows before it is built. None need be valid."""
        paths = {name: output.path for name, output in derivation.outputs.items()}
        if None in paths.values() and derivation.kind() in {FLOATING, DEFERRED}:
            for name, output in self.ids(derivation).items():
                found = self._store.realisation(output)
                paths[name] = None if found is None else found.path
        return paths

    def realisations(self, derivation: Derivation, names: Iterable[str] | None = None) -> list[Realisation]:
        """The realisations of some outputs, or of all, that are registered."""
        wanted = None if names is None else set(names)
        found = [
            self._store.realisation(output)
            for name, output in self.ids(derivation).items()
            if wanted is None or name in wanted
        ]
        return [each for each in found if each is not None]

    def references(self, derivation: Derivation, path: StorePath) -> dict[DrvOutput, StorePath]:
        """The realisations among the inputs of a derivation that its output `path` refers to.

        Raises:
            NotRealisedError: an input has no realisation.
        """
        inputs = []
        for drv_path, names in derivation.input_drvs.items():
            ids = self.ids(self._read(drv_path))
            for name in names:
                found = self._store.realisation(ids[name])
                if found is None:
                    shown = self._store.directory.print(drv_path)
                    raise NotRealisedError(f"output '{name}' of derivation '{shown}' isn't built")
                inputs.append(found)
        references = set(self._store.path_info(path).references)
        return {each.id: each.path for each in realisation_closure(self._store, inputs) if each.path in references}


def realisation_closure(store: Realised, realisations: Iterable[Realisation]) -> list[Realisation]:
    """Realisations and all that they depend on, dependencies first.

    Raises:
        NotRealisedError: one of them is not registered.
    """
    ordered: list[Realisation] = []
    seen = set()
    stack: list[tuple[Realisation, bool]] = [(each, False) for each in realisations]
    while stack:
        current, done = stack.pop()
        if done:
            ordered.append(current)
            continue
        if current.id in seen:
            continue
        seen.add(current.id)
        stack.append((current, True))
        for output in current.dependencies:
            if output not in seen:
                found = store.realisation(output)
                if found is None:
                    raise NotRealisedError(f"Unrealised derivation '{output}'")
                stack.append((found, False))
    return ordered
