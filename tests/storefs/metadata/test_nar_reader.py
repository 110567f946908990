"""Archives straight from records are those that were registered, compiled and as plain Python."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from storefs.formats.hashes import hash_bytes
from storefs.metadata import trees
from storefs.metadata.schema import KEY
from storefs.metadata.trees import TreeDamagedError
from storefs.stores.adding import add_host_path
from storefs.stores.local import LocalStore
from tests.variants import VARIANTS, variant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from storefs.config import Config
    from storefs.metadata.environment import Transaction


Archive = Callable[[LocalStore, int], bytes]


@pytest.fixture(params=VARIANTS)
def archive(request: pytest.FixtureRequest) -> Archive:
    """The NAR of the tree with this root."""
    module = variant("storefs.metadata.nar_reader", request.param)
    return lambda store, root: b"".join(map(bytes, module.nar_buffers(store.environment, store.blobs, root)))


@pytest.fixture
def real_store(config: Config) -> Iterator[LocalStore]:
    """A store with its own limits: contents in the database are as long as they ever are."""
    with LocalStore(config) as store:
        yield store


def check(store: LocalStore, archive: Archive, tree: Path) -> None:
    """Adding has hashed the archive in its own way."""
    path = add_host_path(store, str(tree), "tree")
    info = store.path_info(path)
    found = archive(store, store.root_inode(path))
    assert len(found) == info.nar_size
    assert hash_bytes("sha256", found) == info.nar_hash


def fill(folder: Path, source: random.Random, depth: int, contents: list[bytes]) -> None:
    folder.mkdir()
    for number in range(source.randrange(200 if depth == 0 else 12)):
        name = folder / ("n" * source.randrange(1, 250) + str(number))
        kind = source.randrange(8)
        if kind == 0:
            name.symlink_to("t" * source.randrange(1, 1000))
        elif kind == 1 and depth < 5:
            fill(name, source, depth + 1, contents)
        else:
            name.write_bytes(source.choice(contents)[: source.randrange(40_000)])
            name.chmod(source.choice((0o644, 0o755)))


@pytest.mark.parametrize("seed", range(4))
def test_trees_of_all_kinds(local_store: LocalStore, scratch: Path, archive: Archive, seed: int) -> None:
    source = random.Random(seed)
    contents = [source.randbytes(size) for size in (0, 1, 7, 8, 9, 3000, 16384, 16385, 300_000)]
    fill(scratch / "tree", source, 0, contents)
    check(local_store, archive, scratch / "tree")


def test_more_small_contents_than_are_held(real_store: LocalStore, scratch: Path, archive: Archive) -> None:
    tree = scratch / "tree"
    tree.mkdir()
    for number in range(150):
        (tree / f"{number:03}").write_bytes(bytes([number]) * (16_384 - number))
        (tree / f"{number:03}-link").symlink_to("x" * 4000)
    check(real_store, archive, tree)


def test_a_file_a_program_and_a_link_alone(local_store: LocalStore, scratch: Path, archive: Archive) -> None:
    (scratch / "file").write_bytes(b"x" * 13)
    (scratch / "program").write_bytes(b"x" * 130_000)
    (scratch / "program").chmod(0o755)
    (scratch / "link").symlink_to("file")
    (scratch / "empty").mkdir()
    for name in ("file", "program", "link", "empty"):
        check(local_store, archive, scratch / name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda record: record[:-1], "wrong size"),
        (lambda record: record + b"x", "wrong size"),
        (lambda record: b"?" + record[1:], "damaged"),
        (lambda record: record[:50], "damaged"),
        (lambda record: b"", "damaged"),
        (lambda _: None, "lacks the file"),
    ],
)
def test_damaged_records_are_said(
    local_store: LocalStore,
    scratch: Path,
    archive: Archive,
    damage: Callable[[bytes], bytes | None],
    message: str,
) -> None:
    tree = scratch / "tree"
    tree.mkdir()
    for name in ("a", "b", "c"):
        (tree / name).write_bytes(name.encode() * 10)
    root = local_store.root_inode(add_host_path(local_store, str(tree), "tree"))
    key = KEY.pack(local_store.reader.entries(root)[1].inode)
    env = local_store.environment

    def change(txn: Transaction) -> None:
        record = damage(txn.get(key, db=env.nodes) or b"")
        if record is None:
            txn.delete(key, db=env.nodes)
        else:
            txn.put(key, record, db=env.nodes)

    env.update(change)
    with pytest.raises(TreeDamagedError, match=message):
        archive(local_store, root)


def test_a_blob_of_another_size_is_said(local_store: LocalStore, scratch: Path, archive: Archive) -> None:
    tree = scratch / "tree"
    tree.mkdir()
    (tree / "blob").write_bytes(b"x" * 200_000)
    root = local_store.root_inode(add_host_path(local_store, str(tree), "tree"))
    node = local_store.reader.node(local_store.reader.entries(root)[0].inode)
    blob = local_store.blobs.path(trees.node_payload(node))
    os.chmod(blob, 0o644)  # not only root runs this
    for size in (199_999, 200_001):
        with open(blob, "r+b") as file:
            file.truncate(size)
        with pytest.raises(TreeDamagedError, match="do not have 200000 bytes"):
            archive(local_store, root)
