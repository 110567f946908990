"""What a quick check compares, with and without a process that lists the blobs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.metadata import trees
from storefs.metadata.schema import KEY
from storefs.stores.blob_sizes import ROW_SIZE, BlobSizes, list_blobs
from storefs.stores.presence import check_presence
from tests.leaks import child_processes

if TYPE_CHECKING:
    from storefs.stores.local import LocalStore


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


@pytest.mark.parametrize("process_pays", [0, 10**6])
def test_every_blob_is_compared(local_store: LocalStore, process_pays: int) -> None:
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
    found = check_presence(local_store.environment, local_store.blobs, process_pays=process_pays)
    assert found.wrong == {gone, program, plain, replaced}
    assert found.unnamed == [bytes.fromhex("ff" + "0" * 62)]
    without_sizes = check_presence(local_store.environment, local_store.blobs, sizes=False)
    assert without_sizes.wrong == {gone}
    assert without_sizes.unnamed == found.unnamed


def test_a_process_that_was_killed_is_not_missed(local_store: LocalStore) -> None:
    add(local_store, "large", os.urandom(500))
    directory = local_store.blobs.directory
    expected = list_blobs(directory)
    assert len(expected) == ROW_SIZE
    for program in ("import os; os.kill(os.getpid(), 9)", "raise OSError"):
        with BlobSizes(directory, program=program) as sizes:
            sizes.start()
            assert sizes.wait() == expected


def test_a_process_that_nobody_waits_for_ends(local_store: LocalStore) -> None:
    before = child_processes()
    with BlobSizes(local_store.blobs.directory, program="import time; time.sleep(1000)") as sizes:
        sizes.start()
        assert len(child_processes()) == len(before) + 1
    assert child_processes() == before


def test_no_blobs_at_all(local_store: LocalStore) -> None:
    assert list_blobs(f"{local_store.blobs.directory}/missing") == b""
    assert check_presence(local_store.environment, local_store.blobs).unnamed == []
