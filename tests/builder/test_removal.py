"""Removing what builders leave: any depth, any modes, and links that lead elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.removal import remove_tree

OWNER = 54321  # not root, whom modes don't concern


def test_any_depth_is_removed(scratch: Path) -> None:
    tree = scratch / "tree"
    tree.mkdir()
    above = os.open(".", os.O_RDONLY)
    try:
        os.chdir(tree)
        for _ in range(200):  # 20,000 characters: no path leads there
            os.mkdir("d" * 100)
            Path("file").touch()
            os.chdir("d" * 100)
    finally:
        os.chdir(above)
        os.close(above)
    remove_tree(str(tree))
    assert not os.path.lexists(tree)


def test_a_wide_tree_is_removed_by_several_threads(scratch: Path) -> None:
    tree = scratch / "tree"
    for number in range(60):  # directories of one name in different places, all of which come to lie in the top one
        inner = tree / str(number) / "same" / str(number)
        inner.mkdir(parents=True)
        (inner / "file").touch()
        (inner.parent / "file").touch()
        (inner.parent.parent / "file").touch()
    descriptors = len(os.listdir("/proc/self/fd"))
    remove_tree(str(tree))
    assert not os.path.lexists(tree)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_links_are_removed_and_not_followed(scratch: Path) -> None:
    other = scratch / "other"
    (other / "inner").mkdir(parents=True)
    (other / "file").touch()
    tree = scratch / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "link").symlink_to(other)
    (tree / "inner" / "link").symlink_to(other / "inner")
    os.link(other / "file", tree / "inner" / "file")
    remove_tree(str(tree))
    assert not os.path.lexists(tree)
    assert sorted(path.name for path in other.iterdir()) == ["file", "inner"]


def test_a_file_is_a_tree_too_and_nothing_is_none(scratch: Path) -> None:
    (scratch / "file").touch()
    (scratch / "link").symlink_to("nowhere")
    for name in ("file", "link", "nonesuch"):
        remove_tree(str(scratch / name))
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("mode", [0, 0o111, 0o500])
def test_modes_are_no_obstacle(scratch: Path, mode: int) -> None:
    """Not for the owner; for root they never were."""
    tree = scratch / "tree"
    inner = [tree / "a" / "b" / "file", tree / "a" / "b", tree / "a", tree]
    inner[1].mkdir(parents=True)
    inner[0].touch()
    for path in inner[1:]:
        path.chmod(mode)
    if os.geteuid() != 0:
        remove_tree(str(tree))
        assert not tree.exists()
        return
    for path in [*inner, scratch]:
        os.chown(path, OWNER, OWNER)
    child = os.fork()
    if child == 0:
        try:
            os.setresgid(OWNER, OWNER, OWNER)
            os.setresuid(OWNER, OWNER, OWNER)
            remove_tree(str(tree))
        finally:
            os._exit(0)  # child
    os.waitpid(child, 0)
    assert not tree.exists()
