"""Realisations of what was built here: made, signed, and what follows when a derivation was resolved.

Blocking on the database. Loaded only with the experimental feature `ca-derivations`.
"""

from __future__ import annotations

from builder.signing import sign_realisation
from storefs import logs
from storefs.api import BuildMode
from storefs.errors import StoreError
from storefs.formats.derivation import FIXED, IMPURE
from storefs.formats.realisation import Realisation
from storefs.stores.derivation_outputs import DerivationOutputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from builder.goal import Goal
    from builder.machine import LocalMachine
    from storefs.api import Store
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StorePath


def realisations(machine: LocalMachine, derivation: Derivation, made: Mapping[str, StorePath]) -> list[Realisation]:
    """What is to be registered about outputs that are about to become valid. None for an impure derivation."""
    if derivation.kind() is IMPURE:
        return []
    ids = DerivationOutputs(machine.store, machine.derivation).ids(derivation)
    return [sign_realisation(Realisation(ids[name], path), machine.config) for name, path in made.items()]


def note_valid(
    outputs: DerivationOutputs, store: Store, made: Iterable[tuple[Derivation, Mapping[str, StorePath]]]
) -> None:
    """Register that outputs with known paths are those, where that was not noted: they came before the feature was on.

    So they can be found by what floats and depends on them. Not signed, as in Nix.
    """
    fresh = []
    for derivation, paths in made:
        ids = outputs.ids(derivation)
        fresh += [Realisation(ids[name], path) for name, path in paths.items() if store.realisation(ids[name]) is None]
    if fresh:
        store.register_realisations(fresh)


def valid_and_noted(
    store: Store, evaluated: Store, derivation: Derivation, names: Iterable[str]
) -> dict[str, StorePath]:
    """Those of some outputs that are valid, of a derivation whose inputs `evaluated` has; see `note_valid`."""
    outputs = DerivationOutputs(store, evaluated.derivation)
    known = outputs.known(derivation)
    wanted = {name: path for name in names if (path := known[name]) is not None}
    valid = store.valid_paths(wanted.values())
    made = {name: path for name, path in wanted.items() if path in valid}
    try:
        note_valid(outputs, store, [(derivation, made)])
    except StoreError as error:
        # Not every store takes them, and a daemon may have the feature off; the outputs are there all the same.
        logs.debug(f"the outputs of '{derivation.name}' are not noted: {error}")
    return made


def adopt(machine: LocalMachine, goal: Goal) -> None:
    """Register that outputs of a derivation are what the one that it was resolved to has made. Runs the hook, too.

    Raises:
        StoreError: an output is known to be another path, or an input has no realisation.
    """
    other, derivation, store, config = goal.resolved, goal.derivation, machine.store, machine.config
    assert other is not None
    assert derivation is not None
    # Whoever builds makes all outputs, wanted or not; who fetches knows of those that are.
    valid = store.valid_paths(other.made.values())
    made = {name: path for name, path in other.made.items() if path in valid}
    goal.made = dict(other.made)
    if goal.mode is not BuildMode.NORMAL:
        return
    outputs = DerivationOutputs(store, machine.derivation)
    ids = outputs.ids(derivation)
    fixed = derivation.kind() is FIXED
    store.register_realisations(
        [
            sign_realisation(
                Realisation(ids[name], path, (), {} if fixed else outputs.references(derivation, path)), config
            )
            for name, path in made.items()
        ],
        goal.path,
    )
    if config.text("post-build-hook"):
        from builder.hooks import run_post_build_hook  # noqa: PLC0415  few have one

        show = store.directory.print
        run_post_build_hook(config, machine.progress, show(goal.path), [show(path) for path in made.values()])
