"""A walk through a tree makes the kernel read the next files; nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from storefs.fuse.view import View
from tests.storefs.fuse.memory_forest import MemoryForest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = 100


@pytest.fixture
def forest(tmp_path: Path) -> MemoryForest:
    forest = MemoryForest(str(tmp_path))
    forest.plant(b"tree", {b"%03d" % index: b"content of file %d" % index for index in range(FILES)})
    return forest


@pytest.fixture
def view(forest: MemoryForest) -> Iterator[View]:
    view = View(forest)
    yield view
    view.close()


def inodes(forest: MemoryForest) -> list[int]:
    return [inode for inode, _, _ in forest.blobs_after(0, FILES)]


def started(view: View) -> int:
    return view.statistics()["blobs read ahead"]


def test_a_walk_reads_every_file_ahead_once_but_the_first_ones(view: View, forest: MemoryForest) -> None:
    for inode in inodes(forest):
        view.content(inode)
    assert FILES - 10 < started(view) < FILES


def test_two_walks_at_once_are_told_apart(view: View, forest: MemoryForest) -> None:
    ours = inodes(forest)
    for first, second in zip(ours[: FILES // 2], ours[FILES // 2 :], strict=True):
        view.content(first)
        view.content(second)
    assert FILES - 20 < started(view) < FILES + 30


def test_who_reads_here_and_there_is_no_walker(view: View, forest: MemoryForest) -> None:
    for inode in [*inodes(forest)[::20], *inodes(forest)[::-1]]:
        view.content(inode)
    assert started(view) == 0


def test_a_file_that_is_read_again_is_no_walk(view: View, forest: MemoryForest) -> None:
    for _ in range(10):
        view.content(inodes(forest)[0])
        view.close_blobs()
    assert started(view) == 0


def test_a_blob_that_is_missing_disturbs_nobody(view: View, forest: MemoryForest, tmp_path: Path) -> None:
    ours = inodes(forest)
    for blob in (forest.blob_path(forest.content(inode)[1]) for inode in ours[10:20]):
        (tmp_path / blob).unlink()
    for inode in [*ours[:10], *ours[20:]]:
        view.content(inode)
    assert started(view) > FILES - 20
