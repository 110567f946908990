from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from storefs.castore.blobs import BlobError, BlobStore
from storefs.castore.digest import digest_bytes
from storefs.castore.intake_area import new_area
from storefs.castore.left_overs import digests_in_area, remove_area
from storefs.durable import sync_file_system

CONTENT = b"content" * 100
DIGEST = digest_bytes(CONTENT)


@pytest.fixture
def blobs(scratch: Path) -> BlobStore:
    return BlobStore(str(scratch))


def publish(blobs: BlobStore, content: bytes = CONTENT) -> None:
    area = new_area(blobs)
    area.put(digest_bytes(content), content)
    area.publish()
    area.sync([digest_bytes(content)])
    area.close()


def test_contents_are_named_when_they_are_published(blobs: BlobStore) -> None:
    area = new_area(blobs)
    area.put(DIGEST, CONTENT)
    assert blobs.size(DIGEST) is None
    assert area.read(DIGEST) == CONTENT
    area.publish()
    assert b"".join(blobs.read(DIGEST, 10)) == CONTENT
    assert os.stat(blobs.path(DIGEST)).st_mode & 0o777 == 0o444
    area.close()
    assert os.listdir(blobs.temporary) == []
    assert os.stat(blobs.path(DIGEST)).st_nlink == 1
    assert list(blobs.all_digests()) == [DIGEST]


def test_folders_have_one_digit_and_two_where_an_older_release_began(scratch: Path) -> None:
    publish(BlobStore(str(scratch)))
    digits = DIGEST.hex()
    assert os.listdir(scratch / "blobs") == [digits[:1]]
    old = scratch / "old"
    folder = old / "blobs" / digits[:2]
    folder.mkdir(parents=True)
    os.rename(scratch / "blobs" / digits[:1] / digits[1:], folder / digits[2:])
    blobs = BlobStore(str(old))
    other = b"other" * 100
    publish(blobs, other)
    assert os.path.dirname(blobs.path(digest_bytes(other))) == f"{old}/blobs/{digest_bytes(other).hex()[:2]}"
    assert b"".join(blobs.read(DIGEST)) == CONTENT
    assert set(blobs.all_digests()) == {DIGEST, digest_bytes(other)}
    for name in ("README", "x"):
        (old / "blobs" / name).write_text("")
    assert BlobStore(str(old)).path(DIGEST) == blobs.path(DIGEST)


def test_a_folder_of_somebody_else_does_not_change_where_blobs_are(scratch: Path) -> None:
    publish(BlobStore(str(scratch)))
    (scratch / "blobs" / "ff").mkdir()
    assert BlobStore(str(scratch)).is_intact(DIGEST)


def test_equal_contents_are_kept_once(blobs: BlobStore) -> None:
    publish(blobs)
    inode = os.stat(blobs.path(DIGEST)).st_ino
    publish(blobs)
    area = new_area(blobs)
    for _ in range(2):
        temporary = area.temporary_name()
        Path(temporary).write_bytes(CONTENT)
        area.keep_written(DIGEST, temporary, len(CONTENT))
    assert len(os.listdir(area.path)) == 1
    area.publish()
    area.close()
    assert os.stat(blobs.path(DIGEST)).st_ino == inode


def test_what_an_addition_relies_on_comes_back(blobs: BlobStore) -> None:
    publish(blobs)
    area = new_area(blobs)
    area.put(DIGEST, CONTENT)
    collector = new_area(blobs)
    collector.withdraw(DIGEST)
    collector.close()
    assert blobs.size(DIGEST) is None
    assert area.ensure([DIGEST]) == [DIGEST]
    assert area.ensure([DIGEST]) == []
    area.close()
    assert b"".join(blobs.read(DIGEST)) == CONTENT


def test_an_addition_can_take_back_what_it_published(blobs: BlobStore) -> None:
    area = new_area(blobs)
    area.put(DIGEST, CONTENT)
    area.publish()
    area.withdraw(DIGEST)
    assert blobs.size(DIGEST) is None
    area.close()
    with pytest.raises(BlobError, match="can't be read"):
        blobs.open(DIGEST)


def test_files_are_moved_and_not_copied(blobs: BlobStore, scratch: Path) -> None:
    source = scratch / "built"
    source.write_bytes(CONTENT)
    inode = source.stat().st_ino
    area = new_area(blobs)
    area.keep_moved(DIGEST, str(source), len(CONTENT))
    assert not source.exists()
    area.publish()
    area.close()
    assert os.stat(blobs.path(DIGEST)).st_ino == inode
    assert os.stat(blobs.path(DIGEST)).st_mode & 0o777 == 0o444


def test_damaged_contents_are_replaced(blobs: BlobStore) -> None:
    for damage, repair in ((CONTENT[:-1], False), (b"X" + CONTENT[1:], True)):
        publish(blobs)
        path = Path(blobs.path(DIGEST))
        path.chmod(0o600)
        path.write_bytes(damage)
        assert not blobs.is_intact(DIGEST)
        area = new_area(blobs, repair=repair)
        area.put(DIGEST, CONTENT)
        area.publish()
        area.close()
        assert blobs.is_intact(DIGEST)


def test_areas_of_the_living_and_of_the_dead(blobs: BlobStore) -> None:
    assert not blobs.additions_run()
    area = new_area(blobs)
    assert blobs.additions_run()
    assert list(blobs.stale_areas()) == []
    dead = f"{blobs.temporary}/4000000-1"
    os.mkdir(dead)
    Path(dead, DIGEST.hex()).write_bytes(CONTENT)
    Path(dead, "3").write_bytes(CONTENT)
    assert list(blobs.stale_areas()) == [dead]
    assert digests_in_area(dead) == [DIGEST]
    assert remove_area(dead) >= 2 * len(CONTENT)
    area.close()
    assert not blobs.additions_run()


def test_an_area_whose_name_is_taken_gets_another(blobs: BlobStore) -> None:
    os.makedirs(f"{blobs.temporary}/{os.getpid()}-1")
    area = new_area(blobs)
    assert area.path.endswith(f"{os.getpid()}-2")
    area.close()


def test_foreign_files_are_no_blobs(blobs: BlobStore) -> None:
    publish(blobs)
    (Path(blobs.directory) / "readme").touch()
    (Path(blobs.directory) / "zz").mkdir()
    (Path(blobs.directory) / "zz" / "x").touch()
    assert list(blobs.all_digests()) == [DIGEST]


def test_an_area_that_goes_while_it_is_looked_at_is_no_left_over(
    blobs: BlobStore, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another collector may remove it between our opening it and our having its lock."""
    area = scratch / "tmp" / "1-1"
    area.mkdir(parents=True, exist_ok=True)
    assert list(blobs.stale_areas()) == [str(area)]
    lock = fcntl.flock

    def remove_first(fd: int, operation: int) -> None:
        area.rmdir()
        lock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    assert list(blobs.stale_areas()) == []


def test_an_area_of_many_files_is_removed_with_what_only_it_held(blobs: BlobStore) -> None:
    published = [os.urandom(5000) for _ in range(10)]
    for content in published:
        publish(blobs, content)
    area = new_area(blobs)
    for content in [*published, *(os.urandom(5000) for _ in range(150))]:
        area.put(digest_bytes(content), content)
    sync_file_system(area.path)  # so that the blocks are counted
    assert area.close() >= 150 * 5000
    assert os.listdir(blobs.temporary) == []
    assert all(blobs.is_intact(digest_bytes(content)) for content in published)
