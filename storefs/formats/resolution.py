"""Resolving a derivation: what it is when the outputs that it needs are known.

Inputs that are derivations become the paths that these have made, and placeholders in what the builder is told become
those paths. Two derivations whose inputs turned out to be alike are one then, which is built once: early cut-off.
Sans-I/O. Semantics: `tryResolve` and `rewriteDerivation` in derivations.cc of Nix 2.8.
"""

from __future__ import annotations

from storefs.formats.derivation import DEFERRED, FIXED, FLOATING, Derivation, DerivationOutput
from storefs.formats.derivation_hash import DerivationHasher, downstream_placeholder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from storefs.formats.store_path import StoreDir, StorePath


def must_resolve(derivation: Derivation, *, floating_allowed: bool) -> bool:
    """Whether a derivation is built by building what it resolves to.

    Args:
        derivation: which.
        floating_allowed: whether `ca-derivations` is on; then fixed outputs gain by it, too.
    """
    kind = derivation.kind()
    if kind is FIXED:
        return floating_allowed and bool(derivation.input_drvs)
    return kind is DEFERRED or (kind is FLOATING and bool(derivation.input_drvs))


def resolve(derivation: Derivation, made: Mapping[tuple[StorePath, str], StorePath], directory: StoreDir) -> Derivation:
    """Return the derivation with what its inputs made in their place.

    Args:
        derivation: which.
        made: (derivation, output name) of every wanted output of its inputs -> the path.
        directory: the logical store.

    Raises:
        KeyError: an output is missing in `made`.
    """
    rewrites = {}
    sources = set(derivation.input_srcs)
    for path, names in derivation.input_drvs.items():
        for name in names:
            actual = made[path, name]
            rewrites[downstream_placeholder(path, name)] = directory.print(actual)
            sources.add(actual)

    def rewritten(text: str) -> str:
        for placeholder, actual in rewrites.items():
            if placeholder in text:
                text = text.replace(placeholder, actual)
        return text

    resolved = Derivation(
        derivation.name,
        dict(derivation.outputs),
        {},
        sources,
        derivation.system,
        rewritten(derivation.builder),
        [rewritten(argument) for argument in derivation.args],
        {rewritten(key): rewritten(value) for key, value in derivation.env.items()},
    )
    if derivation.kind() is DEFERRED:
        digest = DerivationHasher(directory, _no_inputs).modulo(resolved, mask_outputs=True).hash
        for name in resolved.outputs:
            path = directory.make_output_path(name, digest, resolved.name)
            resolved.outputs[name] = DerivationOutput(path)
            resolved.env[name] = directory.print(path)
    return resolved


def _no_inputs(path: StorePath) -> NoReturn:
    raise AssertionError(path)
