"""What every `Forest` does, whether it lies in dictionaries or in the database."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.fuse.forest import MetadataForest
from storefs.fuse.view import GoneError
from storefs.metadata import trees
from tests.storefs.fuse.memory_forest import MemoryForest
from tests.storefs.fuse.planting import Garden

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.fuse.view import Forest


class Planted:
    """A forest with two paths: a directory tree and a single file."""

    def __init__(self, forest: Forest, tree: bytes, file: bytes) -> None:
        self.forest, self.tree, self.file = forest, tree, file


BIG = b"x" * 20000


def in_memory(scratch: Path) -> Iterator[Planted]:
    forest = MemoryForest(str(scratch), inline_limit=1000)
    forest.plant(b"tree", {b"small": b"hello", b"big": BIG, b"link": "small", b"sub": {b"deep": b"#! run"}})
    forest.plant(b"file", b"alone")
    yield Planted(forest, b"tree", b"file")


def in_metadata(scratch: Path) -> Iterator[Planted]:
    host = scratch / "host"
    (host / "sub").mkdir(parents=True)
    (host / "small").write_bytes(b"hello")
    (host / "big").write_bytes(BIG)
    (host / "link").symlink_to("small")
    (host / "sub" / "deep").write_bytes(b"#! run")
    os.chmod(host / "sub" / "deep", 0o755)
    (scratch / "alone").write_bytes(b"alone")
    garden = Garden(str(scratch / "state"))
    try:
        tree = garden.plant("tree", str(host))
        file = garden.plant("file", str(scratch / "alone"))
        forest = MetadataForest(garden.environment, garden.verglas_dir, garden.blobs.path)
        yield Planted(forest, tree.encode(), file.encode())
        forest.end()
    finally:
        garden.close()


@pytest.fixture(params=[in_memory, in_metadata])
def planted(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Planted]:
    yield from request.param(scratch)


def inode_of(entry: bytes | memoryview | None) -> int:
    assert entry is not None
    return int.from_bytes(entry[:8], "little")


def mode_of(attributes: bytes | memoryview) -> int:
    return int.from_bytes(attributes[60:64], "little")


class TestForest:
    def test_finds_paths_by_whole_name_only(self, planted: Planted) -> None:
        forest = planted.forest
        assert forest.find_path(planted.tree) is not None
        for wrong in (b"", b"nothing", planted.tree + b"x", planted.tree[:-1], b"\xff" * 40, b".", b"e" * 40):
            assert forest.find_path(wrong) is None, wrong
        forest.end()

    def test_an_entry_is_128_bytes_with_the_attributes_behind(self, planted: Planted) -> None:
        forest = planted.forest
        entry = forest.find_path(planted.file)
        assert entry is not None and len(entry) == 128
        inode = inode_of(entry)
        assert bytes(entry[40:]) == bytes(forest.attributes(inode))
        assert mode_of(entry[40:]) == trees.MODE_REGULAR
        forest.end()

    def test_lists_all_paths_and_resumes_after_any(self, planted: Planted) -> None:
        forest = planted.forest
        everything = [(position, name) for position, name, _ in forest.paths(0)]
        forest.end()
        assert {name for _, name in everything} == {planted.tree, planted.file}
        assert all(1 <= position <= 1 << 61 for position, _ in everything)
        for index, (position, _) in enumerate(everything):
            assert [(at, name) for at, name, _ in forest.paths(position)] == everything[index + 1 :]
            forest.end()

    def test_walks_down_to_contents(self, planted: Planted) -> None:
        forest = planted.forest
        root = inode_of(forest.find_path(planted.tree))
        sub = inode_of(forest.find_entry(root, b"sub"))
        deep = forest.find_entry(sub, b"deep")
        assert deep is not None and mode_of(deep[40:]) == trees.MODE_EXECUTABLE
        content, digest, _ = forest.content(inode_of(deep))
        assert content is not None and bytes(content) == b"#! run" and digest == b""
        link, _, _ = forest.content(inode_of(forest.find_entry(root, b"link")))
        assert link is not None and bytes(link) == b"small"
        assert forest.find_entry(root, b"nothing") is None
        forest.end()

    def test_names_the_blob_of_a_large_file(self, planted: Planted) -> None:
        forest = planted.forest
        root = inode_of(forest.find_path(planted.tree))
        content, digest, size = forest.content(inode_of(forest.find_entry(root, b"big")))
        assert content is None
        assert size == len(BIG)
        assert Path(forest.blob_path(digest)).read_bytes() == BIG
        forest.end()

    def test_entries_come_ready_made_and_sorted(self, planted: Planted) -> None:
        forest = planted.forest
        root = inode_of(forest.find_path(planted.tree))
        data, positions = forest.entries(root)
        names = []
        for at in positions:
            length = int.from_bytes(data[at + 144 : at + 148], "little")
            names.append(bytes(data[at + 152 : at + 152 + length]))
        assert names == [b"big", b"link", b"small", b"sub"]
        positions.release()
        forest.end()

    def test_children_tell_directories_apart(self, planted: Planted) -> None:
        forest = planted.forest
        root = inode_of(forest.find_path(planted.tree))
        children = forest.children(root)
        assert children is not None
        assert sorted(is_directory for _, is_directory in children) == [False, False, False, True]
        assert forest.children(inode_of(forest.find_path(planted.file))) is None
        names = dict(forest.names(root))
        assert sorted(names) == [b"big", b"link", b"small", b"sub"]
        assert {inode for inode, _ in children} == set(names.values())
        assert forest.names(999_999) == []
        forest.end()

    def test_unknown_inodes_are_gone(self, planted: Planted) -> None:
        forest = planted.forest
        for ask in (forest.attributes, forest.content, forest.entries, lambda inode: forest.find_entry(inode, b"x")):
            with pytest.raises(GoneError):
                ask(999_999)
        forest.end()

    def test_says_which_path_an_inode_belongs_to(self, planted: Planted) -> None:
        forest = planted.forest
        root = inode_of(forest.find_path(planted.tree))
        deep = inode_of(forest.find_entry(inode_of(forest.find_entry(root, b"sub")), b"deep"))
        assert forest.name_containing(deep) == planted.tree
        assert forest.name_containing(999_999) is None
        forest.end()

    def test_counts_the_names_of_a_file(self, planted: Planted) -> None:
        forest = planted.forest
        assert forest.uses(inode_of(forest.find_path(planted.file))) == 1
        forest.end()

    def test_end_is_harmless_twice(self, planted: Planted) -> None:
        planted.forest.end()
        planted.forest.end()
