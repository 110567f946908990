"""Directories with the same files share a record: who has it, when it goes, and what happens when it is damaged."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.fuse.forest import MetadataForest
from storefs.fuse.invalidation import Invalidator
from storefs.fuse.view import View
from storefs.gc.sweep import saved_by_sharing
from storefs.metadata import listings, trees
from storefs.metadata.environment import open_environment
from storefs.metadata.listings import find_directory, listing_of
from storefs.metadata.schema import KEY, KEY_VERSION, NUMBER, SCHEMA_VERSION
from storefs.stores.verify import is_intact, verify_store
from tests.store_invariants import check_invariants, check_nothing_is_left

if TYPE_CHECKING:
    from pathlib import Path

    from storefs.stores.local import LocalStore

FILES = 12


def add(
    store: LocalStore, scratch: Path, name: str, *, files: int = FILES, changed: bytes = b"", extra: str = ""
) -> StorePath:
    """A path with a folder of files, which are the same in every path but for the first."""
    folder = scratch / name / "folder"
    folder.mkdir(parents=True)
    for number in range(files):
        # some of them blobs, some in the database, and one that is twice in it
        (folder / f"f{number:02}").write_bytes(b"%d" % (number // 2) * (1 if number % 3 else 100))
    if changed:
        (folder / "f00").write_bytes(changed)
    if extra == "link":
        (folder / "link").symlink_to("f00")
    if extra == "folder":
        (folder / "below").mkdir()
    return register(store, scratch / name, name)


def register(store: LocalStore, source: Path, name: str, *, repair: bool = False) -> StorePath:
    """Without a temporary root, which would keep it."""
    path = StorePath.from_digest(hash_bytes("sha1", name.encode()).digest, name)
    with store.intake(repair=repair) as intake:
        tree = intake.add_tree(str(source))
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size))], replace=repair)
    return path


def folder_of(store: LocalStore, path: StorePath) -> int:
    entry = store.reader.find(store.root_inode(path), b"folder")
    assert entry is not None
    return entry.inode


def listing_in(store: LocalStore, path: StorePath) -> bytes:
    with store.environment.snapshot() as txn:
        return listing_of(store.environment, txn, folder_of(store, path))


def remove(store: LocalStore, *paths: StorePath) -> None:
    collector = store.collector()
    collector.delete(list(paths))
    collector.close()


def test_equal_directories_have_one_record(local_store: LocalStore, scratch: Path) -> None:
    paths = [add(local_store, scratch, name) for name in ("one", "two", "three")]
    other = add(local_store, scratch, "other", changed=b"changed")
    check_invariants(local_store)
    assert len({listing_in(local_store, path) for path in paths}) == 1
    assert listing_in(local_store, other) not in (b"", listing_in(local_store, paths[0]))
    assert len({folder_of(local_store, path) for path in paths}) == 3
    env = local_store.environment
    with env.snapshot() as txn:
        assert txn.stat(env.listings)["entries"] == 2
        assert txn.get(listing_in(local_store, paths[0]), db=env.uses) == NUMBER.pack(3)


@pytest.mark.parametrize("shape", [{"files": FILES - 1}, {"extra": "link"}, {"extra": "folder"}])
def test_what_would_be_no_gain_or_can_not_be_equal_is_not_shared(
    local_store: LocalStore, scratch: Path, shape: dict[str, int | str]
) -> None:
    for name in ("one", "two"):
        assert listing_in(local_store, add(local_store, scratch, name, **shape)) == b""  # type: ignore[arg-type]
    check_invariants(local_store)


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_they_go_in_any_order(local_store: LocalStore, scratch: Path, order: tuple[int, ...]) -> None:
    paths = [add(local_store, scratch, name) for name in ("one", "two", "three")]
    for number in order:
        remove(local_store, paths[number])
        check_invariants(local_store)
        check_nothing_is_left(local_store)
    env = local_store.environment
    with env.snapshot() as txn:
        for table in (env.dirs, env.listings, env.nodes, env.files, env.uses):
            assert txn.stat(table)["entries"] == 0


def test_one_addition_can_have_it_twice(local_store: LocalStore, scratch: Path) -> None:
    add(local_store, scratch, "top")
    (scratch / "top" / "again").mkdir()
    for file in (scratch / "top" / "folder").iterdir():
        (scratch / "top" / "again" / file.name).write_bytes(file.read_bytes())
    path = register(local_store, scratch / "top", "both")
    check_invariants(local_store)
    remove(local_store, path)
    check_invariants(local_store)


def test_a_mount_shows_each_with_its_own_number(local_store: LocalStore, scratch: Path) -> None:
    paths = [add(local_store, scratch, name) for name in ("one", "two")]
    forest = MetadataForest(local_store.environment, local_store.blobs.directory, local_store.blobs.path)
    shown = []
    for path in paths:
        folder = folder_of(local_store, path)
        assert bytes(forest.attributes(folder)) == trees.encode_attr(folder, 0, trees.MODE_DIRECTORY)
        records, positions = forest.entries(folder)
        assert len(positions) == FILES
        assert bytes(forest.find_entry(folder, b"f00") or b"") == bytes(records[: trees.ENTRY_SIZE])
        shown.append(bytes(records))
    forest.end()
    assert shown[0] == shown[1]


class Kernel:
    """Knows every inode, and forgets nothing."""

    def invalidate_entry(self, directory: int, name: bytes) -> None: ...

    def invalidate_bytes(self, inode: int) -> None: ...

    def is_in_use(self, inode: int) -> bool:
        return True


def held(store: LocalStore, paths: list[StorePath]) -> int:
    """How many files a mount would keep for their readers if these paths were removed."""
    serving, asking = (MetadataForest(store.environment, store.blobs.directory, store.blobs.path) for _ in range(2))
    view = View(serving)
    try:
        return Invalidator(Kernel(), view, asking).forget_paths([], [store.root_inode(path) for path in paths])
    finally:
        view.close_blobs()
        for inode in view.held_inodes():
            view.let_go(inode)


def test_a_mount_holds_only_files_that_lose_their_last_name(local_store: LocalStore, scratch: Path) -> None:
    paths = [add(local_store, scratch, name) for name in ("one", "two", "three")]
    remove(local_store, add(local_store, scratch, "gone"))
    files = len({entry.inode for entry in local_store.reader.entries(folder_of(local_store, paths[0]))})
    assert held(local_store, paths[:1]) == 0
    assert held(local_store, paths[:2]) == 0
    assert held(local_store, paths) == files
    remove(local_store, *paths[:2])
    assert held(local_store, paths[2:]) == files


def test_what_sharing_saves_is_what_it_saved_before(
    local_store: LocalStore, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(prefix: str) -> list[StorePath]:
        names = [add(local_store, scratch, f"{prefix}{name}") for name in ("one", "two", "three")]
        return [*names, add(local_store, scratch, f"{prefix}other", changed=b"changed")]

    paths = fill("with")
    saved = saved_by_sharing(local_store.environment)
    remove(local_store, *paths)
    monkeypatch.setattr(listings, "_WORTH_SHARING", 1 << 30)
    fill("without")
    assert saved_by_sharing(local_store.environment) == saved > 0


def damage(store: LocalStore, path: StorePath, change: str) -> None:
    env = store.environment
    key = listing_in(store, path)
    with env.snapshot() as txn:
        record = txn.get(key, db=env.listings)
    assert record is not None
    if change == "missing":
        env.update(lambda txn: txn.delete(key, db=env.listings))
        return
    if change == "cut":
        record = record[:-8]
    if change == "other name":
        record = record.replace(b"f05", b"f99")
    if change == "other inode":
        record = record.replace(NUMBER.pack(store.reader.entries(folder_of(store, path))[5].inode), NUMBER.pack(2**40))
    env.update(lambda txn: txn.put(key, record, db=env.listings))


@pytest.mark.parametrize("change", ["missing", "cut", "other inode"])
def test_a_quick_check_finds_every_path_with_a_damaged_listing(
    local_store: LocalStore, scratch: Path, change: str
) -> None:
    path, _ = (add(local_store, scratch, name) for name in ("one", "two"))
    kept = add(local_store, scratch, "other", changed=b"changed")
    damage(local_store, path, change)
    verify_store(local_store, check_contents=False)
    assert set(local_store.all_valid_paths()) == {kept}, "what is gone is forgotten"


@pytest.mark.parametrize("change", ["cut", "other name", "other inode"])
def test_repairing_one_path_mends_the_others(local_store: LocalStore, scratch: Path, change: str) -> None:
    paths = [add(local_store, scratch, name) for name in ("one", "two")]
    damage(local_store, paths[0], change)
    assert damaged(local_store, paths) == paths
    register(local_store, scratch / "one", "one", repair=True)
    collector = local_store.collector()
    collector.collect(0)
    collector.close()
    assert damaged(local_store, paths) == []
    check_invariants(local_store)


def damaged(store: LocalStore, paths: list[StorePath]) -> list[StorePath]:
    return [path for path in paths if not is_intact(store, path)]


def test_a_directory_whose_listing_is_missing_can_still_be_removed(local_store: LocalStore, scratch: Path) -> None:
    paths = [add(local_store, scratch, name) for name in ("one", "two")]
    damage(local_store, paths[0], "missing")
    remove(local_store, *paths)
    env = local_store.environment
    with env.snapshot() as txn:
        assert txn.stat(env.dirs)["entries"] == 0
        assert txn.stat(env.dying)["entries"] == 0


def test_a_store_of_the_first_format_is_taken_over(scratch: Path) -> None:
    env = open_environment(f"{scratch}/db", map_size=1 << 20)
    record = trees.encode_directory(16, [])

    env.update(lambda txn: txn.put(KEY.pack(16), record, db=env.dirs))
    env.update(lambda txn: txn.drop(env.listings))
    env.update(lambda txn: txn.put(KEY_VERSION, (1).to_bytes(4, "little"), db=env.meta))
    env.close()
    env = open_environment(f"{scratch}/db", map_size=1 << 20)
    with env.snapshot() as txn:
        assert txn.get(KEY_VERSION, db=env.meta) == SCHEMA_VERSION.to_bytes(4, "little")
        assert find_directory(env, txn, 16) == record
        assert txn.stat(env.listings)["entries"] == 0
    env.close()
