"""Hashing stored trees in processes says what hashing them in the caller says."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from storefs.errors import StoreError
from storefs.metadata.schema import KEY
from storefs.metadata.trees import TreeDamagedError
from storefs.stores.adding import add_host_path
from storefs.stores.nar_hash_server import nar_hash
from storefs.stores.nar_hashing import NarHashers

if TYPE_CHECKING:
    from pathlib import Path

    from storefs.stores.local import LocalStore


def hashers(store: LocalStore) -> NarHashers:
    return NarHashers(store.environment, store.config.verglas_dir, store.blobs, process_pays=0)


def add_trees(store: LocalStore, scratch: Path, count: int = 1) -> list[int]:
    roots = []
    for number in range(count):
        tree = scratch / f"tree{number}"
        tree.mkdir()
        (tree / "small").write_bytes(b"s" * 100)
        (tree / "large").write_bytes(os.urandom(100_000))
        roots.append(store.root_inode(add_host_path(store, str(tree), tree.name)))
    return roots


def test_every_thread_has_its_answers(local_store: LocalStore, scratch: Path) -> None:
    roots = add_trees(local_store, scratch, 6)
    expected = [nar_hash(local_store.environment, local_store.blobs, root) for root in roots]
    with hashers(local_store) as them, ThreadPoolExecutor(3) as pool:
        assert list(pool.map(them.hash, roots, [1] * 6)) == expected


def test_what_is_wrong_is_said_in_the_same_words(local_store: LocalStore, scratch: Path) -> None:
    [root] = add_trees(local_store, scratch)
    env = local_store.environment
    env.update(lambda txn: txn.put(KEY.pack(root), (txn.get(KEY.pack(root), db=env.dirs) or b"")[:-8], db=env.dirs))
    with pytest.raises(TreeDamagedError) as here:
        nar_hash(env, local_store.blobs, root)
    with hashers(local_store) as them, pytest.raises(TreeDamagedError) as there:
        them.hash(root, 1)
    assert str(there.value) == str(here.value)


def test_a_process_that_was_killed_is_done_without(local_store: LocalStore, scratch: Path) -> None:
    [root] = add_trees(local_store, scratch)
    with hashers(local_store) as them:
        expected = them.hash(root, 1)
        [pid] = them.processes
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert them.hash(root, 1) == expected


def test_nobody_reads_on_once_it_is_over(local_store: LocalStore, scratch: Path) -> None:
    [root] = add_trees(local_store, scratch)
    with hashers(local_store) as them:
        them.hash(root, 1)
    with pytest.raises(StoreError, match="interrupted"):
        them.hash(root, 1)
