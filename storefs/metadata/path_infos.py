"""Which paths are valid and how they refer to each other: the rows of paths, ids, references, referrers and outputs.

Every function works inside a transaction that the caller holds, so that several of them are one question or one
change.  For the stores, the collector and the mount; nobody else.
"""

from __future__ import annotations

from _struct import pack, unpack

from storefs.errors import StoreError
from storefs.formats import nixbase32
from storefs.formats.hashes import Hash
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import HASH_PART_LENGTH, MAX_NAME_LENGTH, StorePath
from storefs.metadata.records import (
    CorruptRecordError,
    PathRecord,
    decode_path_record,
    id_of,
    path_key,
    path_of_key,
    root_of,
)
from storefs.metadata.schema import DIGEST_SIZE, KEY, KEY_NEXT_ID, NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from storefs.metadata.environment import Environment, Transaction

_LONGEST_BASE_NAME = HASH_PART_LENGTH + 1 + MAX_NAME_LENGTH


class PathInUseError(StoreError):
    """A path can't be made invalid because valid paths refer to it."""

    def __init__(self, path: StorePath, referrers: Iterable[StorePath]) -> None:
        names = ", ".join(f"'{referrer}'" for referrer in referrers)
        super().__init__(f"cannot delete path '{path}' because it is in use by {names}")
        self.path = path


def find(env: Environment, txn: Transaction, path: StorePath) -> PathRecord | None:
    """The record of a path, None if it is not valid."""
    value = txn.get(path_key(path), db=env.paths)
    return None if value is None else decode_path_record(value)


def find_id(env: Environment, txn: Transaction, path: StorePath) -> int | None:
    """The path id of a path, None if it is not valid."""
    value = txn.get(path_key(path), db=env.paths)
    return None if value is None else id_of(value)


def find_root(env: Environment, txn: Transaction, base_name: bytes) -> int | None:
    """The root inode of the valid path called ``base_name``, None for everything else, legal name or not."""
    if base_name[HASH_PART_LENGTH : HASH_PART_LENGTH + 1] != b"-" or len(base_name) > _LONGEST_BASE_NAME:
        return None
    try:
        digest = nixbase32.decode(base_name[:HASH_PART_LENGTH].decode("ascii"))
    except (nixbase32.BadBase32, UnicodeDecodeError):
        return None
    value = txn.get(digest + base_name[HASH_PART_LENGTH + 1 :], db=env.paths)
    return None if value is None else root_of(value)


def from_digest(env: Environment, txn: Transaction, digest: bytes) -> StorePath | None:
    """The first valid path whose hash part spells ``digest``, None if there is none: one look-up."""
    cursor = txn.cursor(env.paths)
    if not cursor.set_range(digest):
        return None
    key = bytes(cursor.key())
    return path_of_key(key) if key[:DIGEST_SIZE] == digest else None


def path_of_id(env: Environment, txn: Transaction, path_id: int) -> StorePath:
    """The path that has this id; raises CorruptRecordError where a reference leads nowhere."""
    name = txn.get(KEY.pack(path_id), db=env.ids)
    if name is None:
        raise _no_such_id(path_id)
    return StorePath.trusted(name.decode("ascii"))


def _no_such_id(path_id: int) -> CorruptRecordError:
    return CorruptRecordError(f"the store database names a path number {path_id} that it does not have")


def reference_ids(env: Environment, txn: Transaction, path_id: int) -> tuple[int, ...]:
    """The ids that a path refers to, itself included if it mentions itself."""
    value = txn.get(KEY.pack(path_id), db=env.references)
    return unpack(f"<{len(value) >> 3}Q", value) if value else ()


def reference_graph(
    env: Environment, txn: Transaction, start: Iterable[int]
) -> tuple[dict[int, tuple[int, ...]], dict[int, bytes]]:
    """What ``start`` reaches, itself included: for each id those that it refers to, and for each its base name.

    Raises CorruptRecordError where a reference leads nowhere.
    """
    graph: dict[int, tuple[int, ...]] = {}
    unpack_key = KEY.unpack
    reference_rows = txn.cursor(env.references)
    todo = set(start)
    while todo:
        # Whoever refers to nothing has no row.
        graph.update(dict.fromkeys(todo, ()))
        reached: set[int] = set()
        for key, value in reference_rows.getmulti(map(KEY.pack, todo)):
            row = unpack(f"<{len(value) >> 3}Q", value)
            graph[unpack_key(key)[0]] = row
            reached.update(row)
        todo = reached.difference(graph)
    names = {unpack_key(key)[0]: name for key, name in txn.cursor(env.ids).getmulti(map(KEY.pack, graph))}
    if len(names) < len(graph):
        raise _no_such_id(min(graph.keys() - names.keys()))
    return graph, names


def referrer_ids(env: Environment, txn: Transaction, path_id: int) -> list[int]:
    """The ids of the valid paths that refer to a path, itself excluded."""
    cursor = txn.cursor(env.referrers)
    if not cursor.set_key(KEY.pack(path_id)):
        return []
    return [int.from_bytes(value, "little") for value in cursor.iternext_dup()]


def deriver_ids(env: Environment, txn: Transaction, path: StorePath) -> list[int]:
    """The ids of the valid derivations that have ``path`` among their outputs; the path itself need not be valid."""
    cursor = txn.cursor(env.outputs)
    if not cursor.set_key(path_key(path)):
        return []
    return [int.from_bytes(value, "little") for value in cursor.iternext_dup()]


def to_path_info(env: Environment, txn: Transaction, path: StorePath, record: PathRecord) -> PathInfo:
    """The value that callers of a store see."""
    return PathInfo(
        path=path,
        nar_hash=Hash("sha256", record.nar_hash),
        nar_size=record.nar_size,
        references=[path_of_id(env, txn, reference) for reference in reference_ids(env, txn, record.id)],
        deriver=StorePath.trusted(record.deriver) if record.deriver else None,
        signatures=record.signatures,
        ca=record.ca,
        registration_time=record.registration_time,
        ultimate=record.ultimate,
    )


def page_of_paths(env: Environment, txn: Transaction, after: bytes, limit: int) -> list[tuple[bytes, StorePath, int]]:
    """At most ``limit`` (key, path, root inode) triples whose key is greater than ``after``, in that order.

    Walking all paths goes page by page, each in its own snapshot, so that none lives long.
    """
    result: list[tuple[bytes, StorePath, int]] = []
    cursor = txn.cursor(env.paths)
    if not cursor.set_range(after + b"\0" if after else b"\0"):
        return result
    for found, value in cursor.iternext():
        key = bytes(found)
        result.append((key, path_of_key(key), root_of(value)))
        if len(result) >= limit:
            break
    return result


def next_id(env: Environment, txn: Transaction) -> int:
    """A number that was never given out before."""
    value = txn.get(KEY_NEXT_ID, db=env.meta)
    number: int = 1 if value is None else NUMBER.unpack(value)[0]
    txn.put(KEY_NEXT_ID, NUMBER.pack(number + 1), db=env.meta)
    return number


def insert(env: Environment, txn: Transaction, info: PathInfo, root: int) -> int:
    """Add the rows of a path that is not valid yet and return its id; its references follow with `set_references`."""
    path_id = next_id(env, txn)
    txn.put(KEY.pack(path_id), info.path.base_name.encode("ascii"), append=True, db=env.ids)
    put_record(env, txn, info, path_id, root)
    return path_id


def put_record(env: Environment, txn: Transaction, info: PathInfo, path_id: int, root: int) -> None:
    """Write or replace the row in ``paths``."""
    record = PathRecord(
        path_id,
        root,
        info.nar_size,
        info.registration_time,
        info.nar_hash.digest,
        info.ultimate,
        info.deriver.base_name if info.deriver else "",
        info.ca,
        info.signatures,
    )
    txn.put(path_key(info.path), record.encode(), db=env.paths)


def set_references(env: Environment, txn: Transaction, path_id: int, references: Iterable[int]) -> None:
    """Say what a path refers to, instead of what was said before."""
    new = sorted(set(references))
    old = reference_ids(env, txn, path_id)
    if tuple(new) == old:
        return
    value = NUMBER.pack(path_id)
    for reference in set(old).difference(new):
        txn.delete(KEY.pack(reference), value, db=env.referrers)
    for reference in set(new).difference(old):
        if reference != path_id:
            txn.put(KEY.pack(reference), value, db=env.referrers)
    key = KEY.pack(path_id)
    if new:
        txn.put(key, pack(f"<{len(new)}Q", *new), db=env.references)
    elif old:
        txn.delete(key, db=env.references)


def set_outputs(env: Environment, txn: Transaction, drv_id: int, outputs: Iterable[StorePath]) -> None:
    """Say which paths a valid derivation makes."""
    names = []
    for output in outputs:
        txn.put(path_key(output), NUMBER.pack(drv_id), db=env.outputs)
        names.append(output.base_name)
    if names:
        txn.put(KEY.pack(drv_id), " ".join(names).encode("ascii"), db=env.makes)


def add_outputs(env: Environment, txn: Transaction, drv_id: int, outputs: Iterable[StorePath]) -> None:
    """Say of more paths that a valid derivation makes them: of outputs that had to be built to be known."""
    known = outputs_of(env, txn, drv_id)
    fresh = [output for output in outputs if output not in known]
    if fresh:
        set_outputs(env, txn, drv_id, [*known, *fresh])


def outputs_of(env: Environment, txn: Transaction, drv_id: int) -> list[StorePath]:
    """What a valid derivation makes; nothing for every other path."""
    value = txn.get(KEY.pack(drv_id), db=env.makes)
    return [StorePath.trusted(name) for name in value.decode("ascii").split(" ")] if value else []


def remove(
    env: Environment, txn: Transaction, path: StorePath, record: PathRecord, together_with: Container[int] = ()
) -> None:
    """Take away all rows of a valid path.

    ``together_with`` are the ids of paths that the same transaction removes: they may refer to it.

    Raises PathInUseError while another path refers to it.  The tree stays: that is `tree_release`'s work.
    """
    from storefs.metadata.realisation_rows import remove_of_path  # noqa: PLC0415  queries remove nothing

    referrers = [each for each in referrer_ids(env, txn, record.id) if each not in together_with]
    if referrers:
        raise PathInUseError(path, sorted(path_of_id(env, txn, referrer) for referrer in referrers))
    set_references(env, txn, record.id, ())
    remove_of_path(env, txn, record.id)
    value = NUMBER.pack(record.id)
    for output in outputs_of(env, txn, record.id):
        txn.delete(path_key(output), value, db=env.outputs)
    txn.delete(KEY.pack(record.id), db=env.makes)
    txn.delete(KEY.pack(record.id), db=env.ids)
    txn.delete(path_key(path), db=env.paths)
