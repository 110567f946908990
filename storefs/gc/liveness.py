"""Which valid paths are live: marking from the roots over references, in one snapshot.

    a live path keeps everything it refers to;
    with keep-derivations, a live output keeps the derivation that made it;
    with keep-outputs, a live derivation keeps its valid outputs.

Iterative, so that chains of any length and cycles of the last two rules are harmless. Reads only. A store of a million
paths with ten references each takes seconds and some 200 MB: only the compact table of references is touched.
"""

from __future__ import annotations

from storefs.formats.store_path import StorePath
from storefs.metadata import path_infos
from storefs.metadata.records import decode_path_record, id_of, path_key
from storefs.metadata.residency import Residency
from storefs.metadata.schema import KEY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.metadata.environment import Environment, Transaction

_COUNT_BITS = 24  # no path refers to sixteen million others
_COUNT_MASK = (1 << _COUNT_BITS) - 1


class Liveness:
    """The result of marking: path ids.  ``dead_ids`` are in no particular order."""

    __slots__ = ("dead_ids", "keeping", "live_ids")

    def __init__(self, live_ids: set[int], dead_ids: list[int], keeping: Keeping) -> None:
        self.live_ids = live_ids
        self.dead_ids = dead_ids
        self.keeping = keeping


class Keeping:
    """What, besides references, keeps paths alive under these settings: path id -> path ids that it keeps."""

    __slots__ = ("derivations_of", "outputs_of")

    def __init__(self) -> None:
        self.derivations_of: dict[int, list[int]] = {}
        self.outputs_of: dict[int, list[int]] = {}

    def kept_by(self, path_id: int) -> list[int]:
        """The ids that ``path_id`` keeps."""
        return [*self.derivations_of.get(path_id, ()), *self.outputs_of.get(path_id, ())]


def find_keeping(env: Environment, txn: Transaction, keep_derivations: bool, keep_outputs: bool) -> Keeping:
    """Relate valid derivations and their valid outputs; costs nothing where neither setting is on."""
    keeping = Keeping()
    if not keep_derivations and not keep_outputs:
        return keeping
    for key, value in txn.cursor(env.makes).iternext():
        drv_id = KEY.unpack(key)[0]
        name = txn.get(key, db=env.ids)
        for output in value.decode("ascii").split(" "):
            row = txn.get(path_key(StorePath.trusted(output)), db=env.paths)
            if row is None:
                continue
            output_id = id_of(row)
            if keep_outputs:
                keeping.outputs_of.setdefault(drv_id, []).append(output_id)
            # As in Nix: only the derivation that is recorded as the maker, not any that would give the same path.
            if keep_derivations and name is not None and decode_path_record(row).deriver == name.decode("ascii"):
                keeping.derivations_of.setdefault(output_id, []).append(drv_id)
    return keeping


def mark(env: Environment, txn: Transaction, roots: Iterable[int], keeping: Keeping) -> set[int]:
    """The ids of everything that ``roots`` (path ids) keep.

    The table of references is read once, in order, into memory: a random walk through a database of a gigabyte would
    touch all of it again and again.
    """
    starts, targets = _load_references(env, txn)
    seen = set(roots)
    todo = list(seen)
    more = bool(keeping.derivations_of or keeping.outputs_of)
    while todo:
        path_id = todo.pop()
        place = starts.get(path_id)
        if place is not None:
            start = place >> _COUNT_BITS
            new = seen.__contains__
            for reference in targets[start : start + (place & _COUNT_MASK)].tolist():
                if not new(reference):
                    seen.add(reference)
                    todo.append(reference)
        if more:
            for kept in keeping.kept_by(path_id):
                if kept not in seen:
                    seen.add(kept)
                    todo.append(kept)
    return seen


def _load_references(env: Environment, txn: Transaction) -> tuple[dict[int, int], memoryview]:
    """Where each path's references begin in the second result, and, in the lower bits, how many there are."""
    data = bytearray()
    starts: dict[int, int] = {}
    residency = Residency(env.path)
    tick = residency.tick
    unpack = KEY.unpack
    for key, value in txn.cursor(env.references).iternext():
        starts[unpack(key)[0]] = len(data) >> 3 << _COUNT_BITS | len(value) >> 3
        data += value
        tick()
    return starts, memoryview(data).cast("Q")


def find_liveness(
    env: Environment, roots: Iterable[StorePath], *, keep_derivations: bool, keep_outputs: bool
) -> Liveness:
    """Mark from the valid ones among ``roots`` and tell live and dead apart."""
    with env.snapshot() as txn:
        root_ids = {
            path_id for path_id in (path_infos.find_id(env, txn, root) for root in roots) if path_id is not None
        }
        keeping = find_keeping(env, txn, keep_derivations, keep_outputs)
        live = mark(env, txn, root_ids, keeping)
        dead = []
        residency = Residency(env.path)
        for key in txn.cursor(env.ids).iternext(keys=True, values=False):
            residency.tick()
            path_id = KEY.unpack(key)[0]
            if path_id not in live:
                dead.append(path_id)
    return Liveness(live, dead, keeping)


def names_of(env: Environment, ids: Iterable[int], page: int = 10000) -> Iterable[StorePath]:
    """Yield the paths that have these ids and are still valid, in the order of ``ids``."""
    batch: list[int] = []
    residency = Residency(env.path)
    for path_id in ids:
        residency.tick()
        batch.append(path_id)
        if len(batch) == page:
            yield from _names(env, batch)
            batch.clear()
    yield from _names(env, batch)


def _names(env: Environment, ids: list[int]) -> list[StorePath]:
    with env.snapshot() as txn:
        names = [txn.get(KEY.pack(path_id), db=env.ids) for path_id in ids]
    return [StorePath.trusted(name.decode("ascii")) for name in names if name is not None]
