"""What is particular to the forest over the database; the rest is in tests/contracts/test_forest.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.formats import nixbase32
from storefs.fuse.forest import MetadataForest
from storefs.fuse.view import GoneError
from tests.storefs.fuse.planting import Garden

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def garden(scratch: Path) -> Iterator[Garden]:
    garden = Garden(str(scratch / "state"))
    yield garden
    garden.close()


@pytest.fixture
def forest(garden: Garden) -> Iterator[MetadataForest]:
    forest = MetadataForest(garden.environment, garden.verglas_dir, garden.blobs.path)
    yield forest
    forest.end()


def names_after(forest: MetadataForest, position: int) -> list[tuple[int, bytes]]:
    try:
        return [(at, name) for at, name, _ in forest.paths(position)]
    finally:
        forest.end()


def test_paths_of_equal_or_nearly_equal_hashes_have_positions_of_their_own(
    garden: Garden, forest: MetadataForest, scratch: Path
) -> None:
    (scratch / "file").write_text("x")
    first, near, last = bytes(20), bytes(7) + b"\1" * 13, b"\xff" * 20
    planted = []
    for digest, names in ((first, "abc"), (near, "ab"), (last, "ab")):
        for name in names:
            base = f"{nixbase32.encode(digest)}-{name}"
            planted.append(garden.plant(name, str(scratch / "file"), base).encode())
    everything = names_after(forest, 0)
    assert sorted(name for _, name in everything) == sorted(planted)
    positions = [position for position, _ in everything]
    assert positions == sorted(set(positions))
    assert positions[0] >= 1 and positions[-1] <= 1 << 61
    for index, position in enumerate(positions):
        assert names_after(forest, position) == everything[index + 1 :]


def test_a_new_commit_is_seen_after_the_end_of_a_snapshot(
    garden: Garden, forest: MetadataForest, scratch: Path
) -> None:
    (scratch / "file").write_text("x")
    base = garden.base_name("later").encode()
    assert forest.find_path(base) is None
    garden.plant("later", str(scratch / "file"))
    assert forest.find_path(base) is None, "one snapshot"
    forest.end()
    assert forest.find_path(base) is not None


@pytest.mark.parametrize("times", [3, 30], ids=["copy", "index"])
def test_copies_of_small_directories_are_forgotten_on_request(
    garden: Garden, forest: MetadataForest, scratch: Path, times: int
) -> None:
    (scratch / "tree").mkdir()
    (scratch / "tree" / "file").write_text("x")
    root = garden.root_of(garden.plant("tree", str(scratch / "tree")))
    for _ in range(times):
        entry = forest.find_entry(root, b"file")
        assert entry is not None
        assert entry[40:] == forest.attributes(int.from_bytes(entry[:8], "little"))
        assert forest.find_entry(root, b"none") is None
        forest.end()
    garden.fell(garden.unregister(garden.base_name("tree")))
    assert forest.find_entry(root, b"file") is not None, "from the copy"
    forest.forget_directories()
    with pytest.raises(GoneError):
        forest.find_entry(root, b"file")
