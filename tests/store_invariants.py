"""Checks every invariant that `storefs.metadata.schema` promises, by reading whole tables of a store at rest."""

from __future__ import annotations

from collections import Counter
from struct import unpack
from typing import TYPE_CHECKING

from storefs.castore.digest import digest_bytes
from storefs.castore.trees import file_key
from storefs.formats.hashes import hash_bytes
from storefs.formats.store_path import StorePath
from storefs.metadata import trees
from storefs.metadata.records import decode_path_record, path_key, path_of_key
from storefs.metadata.schema import DYING_KEY, KEY, KEY_NEXT_ID, KEY_NEXT_INODE, LISTING_KEY_SIZE, NUMBER

if TYPE_CHECKING:
    from storefs.stores.local import LocalStore


def check_invariants(store: LocalStore, *, contents: bool = True) -> None:
    """Raise AssertionError where the database contradicts itself, the blobs, or (``contents``) a NAR hash."""
    env = store.environment
    with env.snapshot() as txn:
        tables = {
            name: list(txn.cursor(getattr(env, name)).iternext())
            for name in (
                "paths",
                "ids",
                "references",
                "referrers",
                "outputs",
                "makes",
                "dirs",
                "listings",
                "nodes",
                "files",
                "unindexed",
                "uses",
                "realisations",
                "realised",
            )
        }
        tables["staged"] = list(txn.cursor(env.staged).iternext())
        tables["dying"] = list(txn.cursor(env.dying).iternext())
        tables["dead_blobs"] = list(txn.cursor(env.dead_blobs).iternext())
        next_id = NUMBER.unpack(txn.get(KEY_NEXT_ID, db=env.meta) or NUMBER.pack(1))[0]
        next_inode = NUMBER.unpack(txn.get(KEY_NEXT_INODE, db=env.meta) or NUMBER.pack(16))[0]
    ids = {KEY.unpack(key)[0]: value.decode() for key, value in tables["ids"]}
    records = {key: decode_path_record(value) for key, value in tables["paths"]}
    assert {record.id: path_of_key(key).base_name for key, record in records.items()} == ids
    assert all(path_id < next_id for path_id in ids)
    assert len({record.root for record in records.values() if KEY.pack(record.root) in dict(tables["dirs"])}) == sum(
        KEY.pack(record.root) in dict(tables["dirs"]) for record in records.values()
    ), "two paths share a root directory"

    references = {KEY.unpack(key)[0]: unpack(f"<{len(value) // 8}Q", value) for key, value in tables["references"]}
    assert all(list(each) == sorted(set(each)) and each for each in references.values())
    for path_id, targets in references.items():
        assert path_id in ids, "references of a path that is not valid"
        assert all(target in ids for target in targets), "a reference to a path that is not valid"
    forwards = {(path_id, target) for path_id, targets in references.items() for target in targets if target != path_id}
    backwards = {(NUMBER.unpack(value)[0], KEY.unpack(key)[0]) for key, value in tables["referrers"]}
    assert forwards == backwards

    made = {
        (KEY.unpack(key)[0], path_key(StorePath(name)))
        for key, value in tables["makes"]
        for name in value.decode().split(" ")
    }
    assert made == {(NUMBER.unpack(value)[0], key) for key, value in tables["outputs"]}
    assert all(path_id in ids for path_id, _ in made)

    realised = {(NUMBER.unpack(value[:8])[0], key) for key, value in tables["realisations"]}
    assert realised == {(KEY.unpack(key[:8])[0], key[8:]) for key, _ in tables["realised"]}
    assert all(path_id in ids for path_id, _ in realised)

    _check_trees(store, tables, [record.root for record in records.values()], next_inode)
    if contents:
        for path in store.all_valid_paths():
            info = store.path_info(path)
            nar = b"".join(store.nar(path))
            assert hash_bytes("sha256", nar) == info.nar_hash, path
            assert len(nar) == info.nar_size, path


def _check_trees(
    store: LocalStore, tables: dict[str, list[tuple[bytes, bytes]]], roots: list[int], next_inode: int
) -> None:
    dirs = {KEY.unpack(key)[0]: value for key, value in tables["dirs"]}
    nodes = {KEY.unpack(key)[0]: value for key, value in tables["nodes"]}
    listings = dict(tables["listings"])
    sharing = Counter(value for value in dirs.values() if len(value) == LISTING_KEY_SIZE)
    assert set(sharing) == set(listings), "a listing that is missing, or that no directory has"
    assert all(digest_bytes(record) == key for key, record in listings.items())
    listing_of = {inode: value for inode, value in dirs.items() if value in listings}
    dirs = {inode: listings.get(value, value) for inode, value in dirs.items()}
    assert not dirs.keys() & nodes.keys()
    assert all(inode < next_inode for inode in [*dirs, *nodes])
    names: Counter[int] = Counter()
    parents: Counter[int] = Counter()
    counted: set[bytes] = set()

    def visit(inode: int, skip: int = 0) -> None:
        todo = [(inode, skip)]
        while todo:
            current, done = todo.pop()
            if current in dirs:
                parents[current] += 1
                listing = listing_of.get(current)
                once = 0 if listing in counted else 1
                counted.update([listing] if listing else [])
                for _, child, size, mode in list(trees.decode_directory(dirs[current]))[done:]:
                    if mode == trees.MODE_DIRECTORY:
                        assert child in dirs, "a directory without a record"
                        todo.append((child, 0))
                    else:
                        assert child in nodes, "a file without a record"
                        assert trees.node_size(nodes[child]) == size
                        assert trees.node_mode(nodes[child]) == mode
                        names[child] += once
            else:
                assert current in nodes, "a root without a record"
                names[current] += 1

    for root in roots:
        visit(root)
    for key, _ in tables["staged"]:
        assert KEY.unpack(key)[0] in dirs, "a part of a tree that nobody holds"
        visit(KEY.unpack(key)[0])
    for key, value in tables["dying"]:
        inode = DYING_KEY.unpack(key)[0]
        if inode in dirs or inode in nodes:
            visit(inode, int.from_bytes(value[:4], "little"))
    assert set(parents) == set(dirs), "a directory that nothing names"
    assert all(count == 1 for count in parents.values()), "a directory with two names"
    assert set(names) == set(nodes), "a file that nothing names"

    counts = {key: NUMBER.unpack(value)[0] for key, value in tables["uses"]}
    assert {key: count for key, count in sharing.items() if count > 1} == {
        key: count for key, count in counts.items() if len(key) == LISTING_KEY_SIZE
    }
    uses = {KEY.unpack(key)[0]: count for key, count in counts.items() if len(key) != LISTING_KEY_SIZE}
    files = {key: NUMBER.unpack(value)[0] for key, value in tables["files"]}
    unindexed = {KEY.unpack(key)[0]: value for key, value in tables["unindexed"]}
    blobs: set[bytes] = set()
    seen: dict[bytes, int] = {}
    for inode, node in nodes.items():
        kind, payload = trees.node_kind(node), trees.node_payload(node)
        if kind == trees.SYMLINK:
            assert names[inode] == 1, "a symbolic link with two names"
            continue
        assert uses.get(inode, 1) == names[inode], "a wrong count of names"
        assert inode not in uses or uses[inode] > 1
        if kind == trees.INLINE:
            assert len(payload) == trees.node_size(node)
        else:
            assert store.blobs.size(payload) == trees.node_size(node), "a blob that is missing"
            blobs.add(bytes(payload))
        digest = digest_bytes(payload) if kind == trees.INLINE else payload
        key = file_key(digest, trees.node_mode(node) == trees.MODE_EXECUTABLE)
        if inode in unindexed:
            assert kind == trees.INLINE
            assert unindexed.pop(inode) == key
        else:
            seen[key] = inode
    assert seen == files, "the index of files is not that of the nodes"
    assert not unindexed, "a file without its node"
    assert set(uses) <= set(nodes)
    dead = {key for key, _ in tables["dead_blobs"]}
    assert not dead & blobs, "a blob that is in use is marked as dead"


def check_nothing_is_left(store: LocalStore) -> None:
    """Raise AssertionError unless the blobs and intake areas are exactly what the database names."""
    env = store.environment
    with env.snapshot() as txn:
        named = {key[:32] for key, value in txn.cursor(env.files).iternext()}
        assert txn.stat(env.dying)["entries"] == 0
        assert txn.stat(env.staged)["entries"] == 0
        assert txn.stat(env.dead_blobs)["entries"] == 0
    assert set(store.blobs.all_digests()) <= named
    assert not list(store.blobs.stale_areas())
    assert not store.blobs.additions_run()
