"""Taking trees down ends in time, and goes on where it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.metadata import path_infos
from storefs.metadata.tree_release import begin_release, continue_release
from storefs.stores.adding import add_host_path
from tests.store_invariants import check_invariants, check_nothing_is_left

if TYPE_CHECKING:
    from pathlib import Path

    from storefs.metadata.environment import Transaction
    from storefs.stores.local import LocalStore


def dying_tree(store: LocalStore, scratch: Path, files: int, *, below: bool = True) -> None:
    """A removed path whose tree has a directory of so many files, with a directory in their middle or without."""
    tree = scratch / "tree"
    (tree / "wide").mkdir(parents=True)
    if below:
        (tree / "wide" / "f00100-below").mkdir()
        (tree / "wide" / "f00100-below" / "file").write_bytes(b"below")
    for number in range(files):
        (tree / "wide" / f"f{number:05}").write_bytes(b"%d" % (number % 70))
    path = add_host_path(store, str(tree), "tree")

    def remove(txn: Transaction) -> None:
        record = path_infos.find(store.environment, txn, path)
        assert record is not None
        path_infos.remove(store.environment, txn, path, record)
        begin_release(store.environment, txn, record.root, path.base_name)

    store.environment.update(remove)


def take_down(store: LocalStore) -> list[int]:
    """Take down what is dying, in steps for which there is no time; returns how many entries went with each."""
    env = store.environment
    steps = []
    while True:
        released = env.update(lambda txn: continue_release(env, txn, lambda *_: True, seconds=0))
        check_invariants(store)
        steps.append(released.entries)
        if not released.more:
            return steps


def test_a_transaction_ends_when_its_time_is_over(local_store: LocalStore, scratch: Path) -> None:
    dying_tree(local_store, scratch, 1000)
    steps = take_down(local_store)
    assert sum(steps) == 1003
    assert len(steps) >= 5
    assert max(steps) <= 1003 / 5
    check_nothing_is_left(local_store)


def test_the_last_directory_with_a_listing_goes_in_as_many_steps_as_any(local_store: LocalStore, scratch: Path) -> None:
    dying_tree(local_store, scratch, 1000, below=False)
    env = local_store.environment
    with env.snapshot() as txn:
        assert txn.stat(env.listings)["entries"] == 1
    steps = take_down(local_store)
    assert sum(steps) == 1001
    assert len(steps) >= 5
    check_nothing_is_left(local_store)


def test_a_directory_can_go_in_one_transaction(local_store: LocalStore, scratch: Path) -> None:
    dying_tree(local_store, scratch, 1000)
    env = local_store.environment
    released = env.update(lambda txn: continue_release(env, txn, lambda *_: True, seconds=1000))
    assert (released.entries, released.more) == (1003, False)
    check_nothing_is_left(local_store)


def test_a_transaction_is_bounded_by_entries_too(local_store: LocalStore, scratch: Path) -> None:
    dying_tree(local_store, scratch, 100)
    env = local_store.environment
    released = env.update(lambda txn: continue_release(env, txn, lambda *_: True, budget=50, seconds=1000))
    assert (released.entries, released.more) == (50, True)


def test_more_dying_directories_than_are_looked_at_are_not_forgotten_for_having_nothing_in_them(
    local_store: LocalStore, scratch: Path
) -> None:
    env = local_store.environment
    for number in range(5):
        empty = scratch / f"empty{number}"
        empty.mkdir()
        path = add_host_path(local_store, str(empty), empty.name)

        def remove(txn: Transaction, path: StorePath = path) -> None:
            record = path_infos.find(env, txn, path)
            assert record is not None
            path_infos.remove(env, txn, path, record)
            begin_release(env, txn, record.root, path.base_name)

        env.update(remove)
    while env.update(lambda txn: continue_release(env, txn, lambda *_: True, budget=1)).more:
        pass
    check_nothing_is_left(local_store)


def test_the_last_entry_leaves_nothing_to_go_on_with(local_store: LocalStore) -> None:
    path = StorePath.from_digest(hash_bytes("sha1", b"").digest, "file")
    with local_store.intake() as intake:
        tree = intake.add_bytes(b"x")
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size))])
    env = local_store.environment
    root = local_store.root_inode(path)

    def remove(txn: Transaction) -> None:
        record = path_infos.find(env, txn, path)
        assert record is not None
        path_infos.remove(env, txn, path, record)
        begin_release(env, txn, root, path.base_name)

    env.update(remove)
    released = env.update(lambda txn: continue_release(env, txn, lambda *_: True, budget=1, seconds=0))
    assert (released.entries, released.more) == (1, False)
