"""The file system without FUSE: what names and inodes mean, and what is kept of collected paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storefs.fuse.view import ROOT, AbsentError, CorruptBlobError, GoneError, View
from tests.storefs.fuse.memory_forest import MemoryForest

BIG = bytes(range(256)) * 40


@pytest.fixture
def forest(scratch: Path) -> MemoryForest:
    forest = MemoryForest(str(scratch))
    forest.plant(b"p", {b"small": b"hello", b"big": BIG, b"link": "to/where"})
    return forest


def inode_of(view: View, *names: bytes) -> int:
    inode = ROOT
    for name in names:
        entry = view.lookup(inode, name)
        assert entry is not None, name
        inode = int.from_bytes(entry[:8], "little")
        view.release()
    return inode


def read(view: View, inode: int) -> bytes:
    content, blob = view.content(inode)
    try:
        return bytes(content) if content is not None else os.pread(blob.fd, blob.size, 0)  # type: ignore[union-attr]
    finally:
        view.release()


def test_reads_small_and_large_files(forest: MemoryForest) -> None:
    view = View(forest)
    assert read(view, inode_of(view, b"p", b"small")) == b"hello"
    assert read(view, inode_of(view, b"p", b"big")) == BIG
    assert bytes(view.symlink(inode_of(view, b"p", b"link"))) == b"to/where"


def test_every_question_takes_a_fresh_snapshot(forest: MemoryForest) -> None:
    view = View(forest)
    assert view.lookup(ROOT, b"later") is None
    view.release()
    forest.plant(b"later", b"now")
    before = forest.snapshots
    assert view.lookup(ROOT, b"later") is not None
    assert forest.snapshots == before + 1


def test_descriptors_of_blobs_are_reused_and_bounded(forest: MemoryForest) -> None:
    forest.plant(b"many", {b"%d" % index: BIG + b"%d" % index for index in range(20)})
    view = View(forest, open_blobs=4)
    before = set(os.listdir("/proc/self/fd"))
    for index in range(20):
        inode = inode_of(view, b"many", b"%d" % index)
        assert read(view, inode).startswith(BIG)
        assert read(view, inode).startswith(BIG)
        assert view.statistics()["blob descriptors open"] <= 4
    assert view.blob_hits == 20
    assert view.blob_misses == 20
    del view
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_blob_of_another_size_is_corrupt(forest: MemoryForest, scratch: Path) -> None:
    view = View(forest)
    inode = inode_of(view, b"p", b"big")
    path = forest.blob_path(forest.content(inode)[1])
    with open(path, "ab") as file:
        file.write(b"!")
    with pytest.raises(CorruptBlobError, match=f"has {len(BIG) + 1} bytes instead of {len(BIG)}") as caught:
        view.content(inode)
    assert caught.value.inode == inode
    os.unlink(path)
    with pytest.raises(CorruptBlobError, match="No such file"):
        view.content(inode)


def test_held_files_stay_readable_after_their_records_are_gone(forest: MemoryForest) -> None:
    view = View(forest)
    inodes = {name: inode_of(view, b"p", name) for name in (b"small", b"big", b"link")}
    used = {inodes[b"small"], inodes[b"big"]}
    assert view.hold(used, dict.fromkeys(used, 1), forest) == used
    blob = forest.blob_path(forest.content(inodes[b"big"])[1])
    forest.fell(b"p")
    os.unlink(blob)
    assert read(view, inodes[b"small"]) == b"hello"
    assert read(view, inodes[b"big"]) == BIG
    assert int.from_bytes(view.attributes(inodes[b"big"])[8:16], "little") == len(BIG)
    with pytest.raises(GoneError):
        view.content(inodes[b"link"])
    assert set(view.held_inodes()) == used
    for inode in used:
        view.let_go(inode)
        with pytest.raises(GoneError):
            view.content(inode)


def test_a_closed_directory_is_stale_but_for_names_that_it_never_had(forest: MemoryForest) -> None:
    view = View(forest)
    directory = inode_of(view, b"p")
    view.close_directories({directory: None})
    with pytest.raises(GoneError):
        view.lookup(directory, b"new")
    view.close_directories({directory: frozenset([b"small"])})
    with pytest.raises(AbsentError):
        view.lookup(directory, b"new")
    with pytest.raises(GoneError):
        view.lookup(directory, b"small")
    with pytest.raises(GoneError):
        view.entries(directory)
    view.reopen_directory(directory)
    assert view.closed_directories() == []
    assert view.lookup(directory, b"small") is not None


def test_a_file_that_keeps_a_name_is_not_held(forest: MemoryForest) -> None:
    view = View(forest)
    inode = inode_of(view, b"p", b"small")
    assert view.hold([inode], {inode: 0}, forest) == set()


def test_directories_and_unknown_inodes_are_never_held(forest: MemoryForest) -> None:
    view = View(forest)
    inodes = [inode_of(view, b"p"), 424242]
    assert view.hold(inodes, dict.fromkeys(inodes, 1), forest) == set()


def test_names_the_store_path_for_messages(forest: MemoryForest) -> None:
    view = View(forest)
    assert view.store_path_of(inode_of(view, b"p", b"big"), forest) == "p"
    assert view.store_path_of(4242, forest) == "(not found)"
