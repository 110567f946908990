"""What a quick check compares, compiled and as plain Python."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.metadata import trees
from storefs.metadata.environment import DatabaseError
from storefs.metadata.listings import listing_of
from storefs.metadata.schema import KEY
from storefs.stores.adding import add_host_path
from storefs.stores.presence import check_presence
from tests.variants import VARIANTS, variant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from storefs.metadata.environment import Transaction
    from storefs.stores.local import LocalStore
    from storefs.stores.presence import Presence


@pytest.fixture(params=VARIANTS)
def check(request: pytest.FixtureRequest, local_store: LocalStore) -> Callable[..., Presence]:
    module = variant("storefs.stores.presence", request.param)
    return lambda **options: module.check_presence(local_store.environment, local_store.blobs, **options)  # type: ignore[no-any-return]


def add(store: LocalStore, name: str, content: bytes, *, executable: bool = False) -> tuple[int, str]:
    """Register a file; returns its inode, and where its blob is."""
    path = StorePath.from_digest(hash_bytes("sha1", name.encode()).digest, name)
    with store.intake() as intake:
        tree = intake.add_bytes(content, executable=executable)
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size))])
    root = store.root_inode(path)
    with store.environment.snapshot() as txn:
        node = txn.get(KEY.pack(root), db=store.environment.nodes)
    assert node is not None
    return root, store.blobs.path(trees.node_payload(node)) if node[0] == trees.BLOB else ""


def test_every_blob_is_compared(local_store: LocalStore, check: Callable[..., Presence]) -> None:
    content = os.urandom(5000)
    add(local_store, "small", b"x")
    add(local_store, "whole", os.urandom(100))
    gone, gone_file = add(local_store, "gone", os.urandom(200))
    program, program_file = add(local_store, "program", content, executable=True)
    plain, plain_file = add(local_store, "plain", content)
    assert plain_file == program_file
    replaced, replaced_file = add(local_store, "replaced", os.urandom(300))
    os.unlink(gone_file)
    os.chmod(plain_file, 0o600)
    os.truncate(plain_file, 4999)
    os.unlink(replaced_file)
    os.symlink("x" * 300, replaced_file)
    stray = f"{local_store.blobs.directory}/ff/{'0' * 62}"
    os.makedirs(os.path.dirname(stray), exist_ok=True)
    for name in (stray, stray[:-2], f"{stray[:-2]}zz", f"{local_store.blobs.directory}/README"):
        with open(name, "wb") as file:
            file.write(b"x")
    found = check()
    assert found.wrong == {gone, program, plain, replaced}
    assert found.unnamed == [bytes.fromhex("ff" + "0" * 62)]
    without_sizes = check(sizes=False)
    assert without_sizes.wrong == {gone}
    assert without_sizes.unnamed == found.unnamed


def test_no_blobs_at_all(local_store: LocalStore, check: Callable[..., Presence]) -> None:
    found = check()
    assert (found.wrong, found.unnamed) == (set(), [])


def tree(store: LocalStore, scratch: Path) -> int:
    """A tree of all kinds of objects: returns the inode of its directory ``d``."""
    top = scratch / "tree"
    (top / "d" / "below").mkdir(parents=True)
    (top / "d" / "file").write_bytes(b"x")
    (top / "d" / "long").write_bytes(b"x" * 10_000)
    (top / "d" / "blob").write_bytes(b"x" * 20_000)
    (top / "d" / "program").write_bytes(b"#!")
    (top / "d" / "program").chmod(0o755)
    (top / "d" / "link").symlink_to("file")
    path = add_host_path(store, str(top), "tree")
    found = store.reader.find(store.root_inode(path), b"d")
    assert found is not None
    return found.inode


def test_every_kind_of_object_is_what_its_directory_says(
    local_store: LocalStore, scratch: Path, check: Callable[..., Presence]
) -> None:
    directory = tree(local_store, scratch)
    assert check().wrong == set()
    env = local_store.environment
    inodes = {entry.name.decode(): entry.inode for entry in local_store.reader.entries(directory)}

    def damage(txn: Transaction) -> None:
        link = txn.get(KEY.pack(inodes["link"]), db=env.nodes) or b""
        txn.put(KEY.pack(inodes["file"]), link, db=env.nodes)  # something else than the directory says
        txn.put(KEY.pack(inodes["link"]), b"?" + link[1:], db=env.nodes)  # nothing that there is
        txn.put(KEY.pack(inodes["program"]), b"I", db=env.nodes)  # cut short
        txn.delete(KEY.pack(inodes["long"]), db=env.nodes)
        txn.put(KEY.pack(inodes["blob"]), (txn.get(KEY.pack(inodes["blob"]), db=env.nodes) or b"")[:-1], db=env.nodes)
        txn.delete(KEY.pack(inodes["below"]), db=env.dirs)
        txn.put(KEY.pack(10**12), link, db=env.nodes)  # never given out

    env.update(damage)
    assert check().wrong == {*inodes.values(), 10**12}


@pytest.mark.parametrize("keep", [0, 3, 95, 100, 140, 300])
def test_damaged_directory_records_are_named(
    local_store: LocalStore, scratch: Path, check: Callable[..., Presence], keep: int
) -> None:
    directory = tree(local_store, scratch)
    env = local_store.environment
    key = KEY.pack(directory)
    env.update(lambda txn: txn.put(key, (txn.get(key, db=env.dirs) or b"")[:keep], db=env.dirs))
    assert directory in check().wrong


def test_a_directory_that_names_what_was_never_given_out(
    local_store: LocalStore, scratch: Path, check: Callable[..., Presence]
) -> None:
    directory = tree(local_store, scratch)
    env = local_store.environment
    record = trees.encode_directory(
        directory, [(b"a", 2**63, 1, trees.MODE_REGULAR), (b"b", directory, 0, trees.MODE_DIRECTORY)]
    )
    env.update(lambda txn: txn.put(KEY.pack(directory), record, db=env.dirs))
    assert check().wrong == {2**63}


@pytest.mark.parametrize("damage", ["cut", "wrong", "missing"])
def test_a_damaged_listing_is_wrong_for_every_directory_that_has_it(
    local_store: LocalStore, scratch: Path, check: Callable[..., Presence], damage: str
) -> None:
    env = local_store.environment
    folders = []
    for name in ("one", "two"):
        (scratch / name).mkdir()
        for number in range(12):
            (scratch / name / f"f{number}").write_bytes(b"%d" % number)
        folders.append(local_store.root_inode(add_host_path(local_store, str(scratch / name), name)))
    first = local_store.reader.entries(folders[0])[0]
    with env.snapshot() as txn:
        key = listing_of(env, txn, folders[0])
        record = txn.get(key, db=env.listings) or b""
    assert check().wrong == set()
    if damage == "cut":
        env.update(lambda txn: txn.put(key, record[:-8], db=env.listings))
    elif damage == "missing":
        env.update(lambda txn: txn.delete(key, db=env.listings))
    else:
        env.update(lambda txn: txn.delete(KEY.pack(first.inode), db=env.nodes))
    assert check().wrong == ({first.inode} if damage == "wrong" else set(folders))


def put_link(store: LocalStore, scratch: Path, target: bytes) -> tuple[int, int]:
    """A tree with one link: returns the inodes of the directory and the link."""
    top = scratch / "links"
    top.mkdir()
    os.symlink(target, os.fsencode(top / "link"))
    root = store.root_inode(add_host_path(store, str(top), "links"))
    link = store.reader.find(root, b"link")
    assert link is not None
    return root, link.inode


def test_a_link_with_pages_of_its_own_is_one(
    local_store: LocalStore, scratch: Path, check: Callable[..., Presence]
) -> None:
    _, link = put_link(local_store, scratch, b"x" * 4000)
    env = local_store.environment
    key = KEY.pack(link)
    with env.snapshot() as txn:
        node = txn.get(key, db=env.nodes) or b""
    assert check().wrong == set()
    for damaged in (b"I" + node[1:], b"?" + node[1:], node[:-4000] + b"x" * 5000, node[:80]):
        env.update(lambda txn, damaged=damaged: txn.put(key, damaged, db=env.nodes))  # type: ignore[misc]
        assert link in check().wrong


def test_a_path_whose_root_has_no_row(local_store: LocalStore, check: Callable[..., Presence]) -> None:
    roots = [add(local_store, name, os.urandom(size))[0] for name, size in (("a", 10), ("b", 3000), ("c", 20_000))]
    env = local_store.environment
    env.update(lambda txn: [txn.delete(KEY.pack(root), db=env.nodes) for root in roots])
    assert check().wrong == set(roots)


@pytest.mark.slow
def test_a_damaged_database_is_an_error_or_a_finding_and_no_crash(local_store: LocalStore, scratch: Path) -> None:
    """Rows with inodes of any size, kinds, digests and records that say anything, on pages that do."""
    tree(local_store, scratch)
    for number in range(40):
        add(local_store, f"p{number}", bytes([number]) * (300 * number))
        add(local_store, f"blob{number}", bytes([number]) * 20_000)
    env, blobs = local_store.environment, local_store.blobs
    assert check_presence(env, blobs).wrong == set()
    with open(env.file, "r+b", buffering=0) as file:
        content = file.read()
        # What LMDB looks up itself, it believes: its own pages, and the table with the next inode.
        spared = (b"dead_blobs", b"next-inode")
        places = [
            at for at in range(8192, len(content), 4096) if not any(each in content[at : at + 4096] for each in spared)
        ]
        source = random.Random(1)
        seen: set[str] = set()
        for _ in range(400):
            changes = [
                (source.choice(places) + source.randrange(source.choice((64, 4096))), source.randbytes(1))
                for _ in range(source.choice((1, 8, 100)))
            ]
            for place, byte in changes:
                os.pwrite(file.fileno(), byte, place)
            try:
                found = check_presence(env, blobs)
                seen.add("wrong" if found.wrong else "sound")
            except DatabaseError:
                seen.add("error")
            for place, _ in changes:
                os.pwrite(file.fileno(), content[place : place + 1], place)
    assert seen == {"wrong", "sound", "error"}
    assert check_presence(env, blobs).wrong == set()
