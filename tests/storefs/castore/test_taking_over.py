"""What is moved into the store: never by way of a link, and never a file that has another name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storefs.castore.taking_over import take_over


def test_a_file_changes_its_place_and_mode_and_stays_the_same(scratch: Path) -> None:
    source, path = scratch / "source", scratch / "path"
    source.write_text("contents")
    inode = source.stat().st_ino
    take_over(str(source), str(path), 0o444)
    assert (path.stat().st_ino, path.stat().st_mode & 0o7777, path.read_text()) == (inode, 0o444, "contents")
    assert not source.exists()


def test_no_link_leads_mode_and_owner_to_another_file(scratch: Path) -> None:
    victim, source = scratch / "victim", scratch / "source"
    victim.write_text("of the host")
    victim.chmod(0o640)
    source.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        take_over(str(source), str(scratch / "path"), 0o444)
    assert (victim.stat().st_mode & 0o7777, victim.read_text()) == (0o640, "of the host")


def test_a_file_with_a_second_name_is_left_as_it_is(scratch: Path) -> None:
    victim, source = scratch / "victim", scratch / "source"
    victim.write_text("of the host")
    victim.chmod(0o640)
    os.link(victim, source)
    with pytest.raises(OSError, match="second name"):
        take_over(str(source), str(scratch / "path"), 0o444)
    assert victim.stat().st_mode & 0o7777 == 0o640


@pytest.mark.skipif(os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev, reason="one file system")
def test_across_file_systems_it_is_copied(scratch: Path) -> None:
    source = Path(f"/dev/shm/{scratch.name}")
    source.write_bytes(b"contents" * 300_000)
    try:
        take_over(str(source), str(scratch / "path"), 0o444)
        assert (scratch / "path").read_bytes() == source.read_bytes()
        assert (scratch / "path").stat().st_mode & 0o7777 == 0o444
    finally:
        source.unlink()
