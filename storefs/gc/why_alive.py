"""Why a path is not collected: the root that keeps it, and the chain from the root to it.

Reads only.  Searches backwards from the path, breadth first, so the chain is a shortest one.
"""

from __future__ import annotations

from storefs.gc.liveness import find_keeping
from storefs.metadata import path_infos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from storefs.formats.store_path import StorePath
    from storefs.metadata.environment import Environment

REFERS = "refers to"
KEEPS_DERIVATION = "was made by, with keep-derivations,"
KEEPS_OUTPUT = "makes, with keep-outputs,"


class Chain:
    """``reasons`` make ``steps[0]`` a root; each further step is (how the one before keeps it, path)."""

    __slots__ = ("reasons", "root", "steps")

    def __init__(self, root: StorePath, reasons: list[str], steps: list[tuple[str, StorePath]]) -> None:
        self.root = root
        self.reasons = reasons
        self.steps = steps


def find_chain(
    env: Environment,
    path: StorePath,
    roots: Mapping[StorePath, list[str]],
    *,
    keep_derivations: bool,
    keep_outputs: bool,
) -> Chain | None:
    """The shortest chain that keeps ``path``, None if nothing does or it is not valid."""
    with env.snapshot() as txn:
        target = path_infos.find_id(env, txn, path)
        if target is None:
            return None
        root_of = {}
        for root in roots:
            root_id = path_infos.find_id(env, txn, root)
            if root_id is not None:
                root_of[root_id] = root
        keeping = find_keeping(env, txn, keep_derivations, keep_outputs)
        kept_by: dict[int, list[tuple[int, str]]] = {}
        for table, how in ((keeping.derivations_of, KEEPS_DERIVATION), (keeping.outputs_of, KEEPS_OUTPUT)):
            for keeper, kept in table.items():
                for each in kept:
                    kept_by.setdefault(each, []).append((keeper, how))
        # next_of[x] = (y, how): x keeps y in the way `how`, and y leads to the target
        next_of: dict[int, tuple[int, str]] = {target: (0, "")}
        todo = [target]
        for path_id in todo:
            if path_id in root_of:
                steps = []
                here = path_id
                while here != target:
                    here, how = next_of[here]
                    steps.append((how, path_infos.path_of_id(env, txn, here)))
                root = root_of[path_id]
                return Chain(root, list(roots[root]), steps)
            keepers = [(each, REFERS) for each in path_infos.referrer_ids(env, txn, path_id)]
            keepers.extend(kept_by.get(path_id, ()))
            for keeper, how in keepers:
                if keeper not in next_of:
                    next_of[keeper] = (path_id, how)
                    todo.append(keeper)
    return None
