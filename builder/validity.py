"""Whether targets are there already: asked before a builder is loaded, because very often they are.

Reads the store and nothing else. Used by commands that realise.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.api import Store
    from storefs.formats.derived_path import DerivedPath


def all_valid(store: Store, targets: Iterable[DerivedPath]) -> bool:
    """Return whether realising all targets would change nothing, and keep what they mean from being collected.

    False where a derivation is not here, or does not have a wanted output: the builder says what is wrong then.
    """
    wanted = []
    for target in targets:
        if target.outputs is None:
            wanted.append(target.path)
            continue
        if not store.is_valid(target.path):
            return False
        outputs = store.derivation(target.path).outputs
        if not outputs.keys() >= set(target.outputs):
            return False
        for name in target.outputs or outputs:
            path = outputs[name].path
            if path is None:
                return False
            wanted.append(path)
    for path in wanted:
        store.add_temp_root(path)
    return len(store.valid_paths(wanted)) == len(set(wanted))
