"""Whether targets are there already: asked before a builder is loaded, because very often they are.

Reads the store and nothing else. Used by commands that realise.
"""

from __future__ import annotations

from storefs.api import BuildResult, BuildStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from storefs.api import Store
    from storefs.formats.derived_path import DerivedPath
    from storefs.formats.store_path import StorePath


def all_valid(store: Store, targets: Iterable[DerivedPath], *, floating_allowed: bool = False) -> bool:
    """Return whether realising all targets would change nothing, and keep what they mean from being collected."""
    return _valid_outputs(store, targets, store, floating_allowed) is not None


def results_if_valid(
    store: Store, targets: Sequence[DerivedPath], evaluated: Store | None = None, *, floating_allowed: bool = False
) -> list[BuildResult] | None:
    """Return what a builder would return for targets that are all valid, None if there is something to do.

    `evaluated` has the derivations if `store` has not. With `floating_allowed` (the experimental feature
    `ca-derivations`) targets may be known by their realisations.
    """
    outputs = _valid_outputs(store, targets, evaluated or store, floating_allowed)
    if outputs is None:
        return None
    return [BuildResult(target, BuildStatus.ALREADY_VALID, made) for target, made in zip(targets, outputs, strict=True)]


def _valid_outputs(
    store: Store, targets: Iterable[DerivedPath], evaluated: Store, floating_allowed: bool
) -> list[dict[str, StorePath]] | None:
    """Return the wanted outputs of each target, none for one that is a path; None if something is not valid.

    So too where a derivation is not here, or lacks a wanted output: the builder says what is wrong then.
    """
    found: list[dict[str, StorePath]] = []
    wanted = []
    for target in targets:
        if target.outputs is None:
            found.append({})
            wanted.append(target.path)
            continue
        if not evaluated.is_valid(target.path):
            return None
        derivation = evaluated.derivation(target.path)
        outputs = derivation.outputs
        if not outputs.keys() >= set(target.outputs):
            return None
        made = {name: path for name in target.outputs or outputs if (path := outputs[name].path) is not None}
        if floating_allowed:
            from builder.realising import valid_and_noted  # noqa: PLC0415  json, for what floats

            made = valid_and_noted(store, evaluated, derivation, target.outputs or outputs)
        if len(made) != len(target.outputs or outputs):
            return None
        found.append(made)
        wanted += made.values()
    for path in wanted:
        store.add_temp_root(path)
    return found if len(store.valid_paths(wanted)) == len(set(wanted)) else None
