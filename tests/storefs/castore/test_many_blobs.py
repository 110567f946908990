from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.castore.blobs import BlobError, BlobStore
from storefs.castore.digest import digest_bytes
from storefs.castore.intake_area import new_area
from storefs.castore.many_blobs import FOUND, REPLACES, WRITTEN
from tests.variants import VARIANTS, variant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from storefs.castore.intake_area import IntakeArea

SOME = [b"%d" % number * (number + 1) for number in range(5)]
MANY = [b"content %d" % number for number in range(600)]  # more than one look at the open folders


@pytest.fixture(params=VARIANTS)
def many(request: pytest.FixtureRequest) -> ModuleType:
    return variant("storefs.castore.many_blobs", request.param)


@pytest.fixture(params=[1, 2])
def blobs(request: pytest.FixtureRequest, scratch: Path) -> BlobStore:
    if request.param == 2:
        (scratch / "blobs" / "ff").mkdir(parents=True)
    return BlobStore(str(scratch))


@pytest.fixture
def area(scratch: Path) -> bytes:
    (scratch / "area").mkdir()
    return os.fsencode(scratch / "area")


@pytest.fixture
def tmp_path_of_memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def in_one_text(contents: list[bytes]) -> tuple[memoryview, list[tuple[bytes, int, int]]]:
    files, text = [], b"head"
    for content in contents:
        files.append((digest_bytes(content), len(text), len(content)))
        text += content + b"between"
    return memoryview(text), files


def plant(blobs: BlobStore, digest: bytes, content: bytes) -> str:
    path = blobs.path(digest)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    return path


def name(area: bytes, digest: bytes) -> bytes:
    return area + b"/" + digest.hex().encode()


@pytest.mark.parametrize("contents", [[], SOME, MANY], ids=len)
def test_files_are_written(many: ModuleType, blobs: BlobStore, area: bytes, contents: list[bytes]) -> None:
    text, files = in_one_text(contents)
    assert many.write_all(text, files, area, *blobs.place, 0o444) == [WRITTEN] * len(contents)
    for (digest, _, _), content in zip(files, contents, strict=True):
        with open(name(area, digest), "rb") as file:
            assert file.read() == content
            assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o444
    assert len(os.listdir(area)) == len(contents)


def test_what_is_there_is_linked_unless_it_has_another_size(many: ModuleType, blobs: BlobStore, area: bytes) -> None:
    text, files = in_one_text(SOME)
    there = plant(blobs, files[1][0], SOME[1])
    plant(blobs, files[3][0], SOME[3][:-1])
    assert many.write_all(text, files, area, *blobs.place, 0o444) == [WRITTEN, FOUND, WRITTEN, REPLACES, WRITTEN]
    assert os.path.samefile(there, name(area, files[1][0]))
    assert os.stat(name(area, files[3][0])).st_nlink == 1
    assert os.stat(name(area, files[3][0])).st_size == len(SOME[3])


def test_an_error_says_what_it_is_about(many: ModuleType, blobs: BlobStore, area: bytes) -> None:
    text, files = in_one_text(SOME)
    plant(blobs, files[0][0], SOME[0])
    descriptors = len(os.listdir("/proc/self/fd"))
    in_the_way = name(area, files[2][0])
    os.mkdir(in_the_way)
    with pytest.raises(FileExistsError) as caught:
        many.write_all(text, files, area, *blobs.place, 0o444)
    assert caught.value.filename == in_the_way
    with pytest.raises(FileNotFoundError):
        many.write_all(text, files, area + b"/missing", *blobs.place, 0o444)
    with pytest.raises(OSError, match="Is a directory") as directory:
        many.unlink_all([files[0][0], files[2][0]], area)
    assert directory.value.filename == in_the_way
    with pytest.raises(FileNotFoundError) as missing:
        many.unlink_all([files[4][0]], area)
    assert missing.value.errno == errno.ENOENT
    assert len(os.listdir("/proc/self/fd")) == descriptors


def in_a_folder(folder: Path, contents: list[bytes]) -> tuple[bytes, list[tuple[bytes, bytes, int]]]:
    folder.mkdir()
    files = []
    for number, content in enumerate(contents):
        (folder / str(number)).write_bytes(content)
        (folder / str(number)).chmod(0o755 if number % 2 else 0o600)
        files.append((digest_bytes(content), b"%d" % number, len(content)))
    return os.fsencode(folder), files


@pytest.mark.parametrize("contents", [[], SOME, MANY], ids=len)
def test_files_are_moved(many: ModuleType, blobs: BlobStore, area: bytes, scratch: Path, contents: list[bytes]) -> None:
    folder, files = in_a_folder(scratch / "folder", contents)
    inodes = [os.stat(folder + b"/" + file[1]).st_ino for file in files]
    if os.geteuid() == 0:
        for _, entry, _ in files:
            os.chown(folder + b"/" + entry, 12345, 12345)
    assert many.move_all(folder, files, area, *blobs.place, 0o444) == [WRITTEN] * len(contents)
    assert os.listdir(folder) == []
    for (digest, _, size), inode in zip(files, inodes, strict=True):
        status = os.stat(name(area, digest))
        assert (status.st_ino, status.st_size, stat.S_IMODE(status.st_mode)) == (inode, size, 0o444)
        assert status.st_uid == os.geteuid()


def test_what_is_there_is_linked_and_its_equal_stays(
    many: ModuleType, blobs: BlobStore, area: bytes, scratch: Path
) -> None:
    folder, files = in_a_folder(scratch / "folder", SOME)
    there = plant(blobs, files[1][0], SOME[1])
    plant(blobs, files[3][0], SOME[3][:-1])
    assert many.move_all(folder, files, area, *blobs.place, 0o444) == [WRITTEN, FOUND, WRITTEN, REPLACES, WRITTEN]
    assert os.listdir(folder) == [b"1"]
    assert os.path.samefile(there, name(area, files[1][0]))
    assert os.stat(name(area, files[3][0])).st_size == len(SOME[3])


def test_files_of_another_file_system_are_copied(
    many: ModuleType, blobs: BlobStore, area: bytes, scratch: Path, tmp_path_of_memory: Path
) -> None:
    if os.stat(tmp_path_of_memory).st_dev == os.stat(scratch).st_dev:
        pytest.skip("there is one file system only")
    folder, files = in_a_folder(tmp_path_of_memory / "folder", SOME)
    plant(blobs, files[3][0], SOME[3][:-1])
    assert many.move_all(folder, files, area, *blobs.place, 0o444) == [WRITTEN, WRITTEN, WRITTEN, REPLACES, WRITTEN]
    for (digest, _, _), content in zip(files, SOME, strict=True):
        with open(name(area, digest), "rb") as file:
            assert file.read() == content


def test_a_file_with_a_second_name_is_not_taken(many: ModuleType, blobs: BlobStore, area: bytes, scratch: Path) -> None:
    folder, files = in_a_folder(scratch / "folder", SOME)
    os.link(folder + b"/2", scratch / "second")
    mode = os.stat(scratch / "second").st_mode
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as caught:
        many.move_all(folder, files, area, *blobs.place, 0o444)
    assert caught.value.errno == errno.EMLINK
    assert os.stat(scratch / "second").st_mode == mode
    with pytest.raises(FileNotFoundError):
        many.move_all(folder, files, area, *blobs.place, 0o444)  # the first are gone
    with pytest.raises(FileNotFoundError):
        many.move_all(folder + b"/missing", files, area, *blobs.place, 0o444)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_names_are_given_until_one_can_not_be(many: ModuleType, blobs: BlobStore, area: bytes) -> None:
    text, files = in_one_text(MANY)
    many.write_all(text, files, area, *blobs.place, 0o444)
    digests = [file[0] for file in files]
    assert many.link_all(digests, 0, area, *blobs.place) == 0
    for digest in digests:
        os.makedirs(os.path.dirname(blobs.path(digest)), exist_ok=True)
    plant(blobs, digests[7], b"of somebody who was faster")
    os.unlink(name(area, digests[400]))
    assert many.link_all(digests, 0, area, *blobs.place) == 400
    assert many.link_all(digests, 401, area, *blobs.place) == 600
    assert many.link_all([], 0, area, *blobs.place) == 0
    assert many.first_missing(digests, 0, *blobs.place) == 400
    assert many.first_missing(digests, 401, *blobs.place) == 600
    assert blobs.size(digests[7]) == 26
    assert all(os.path.samefile(blobs.path(each), name(area, each)) for each in digests[401:])
    del digests[400]
    many.unlink_all(digests, area)
    assert os.listdir(area) == []
    assert blobs.size(digests[0]) == len(MANY[0])


def taken_in(blobs: BlobStore, *, repair: bool = False) -> tuple[IntakeArea, list[bytes]]:
    text, files = in_one_text(SOME)
    area = new_area(blobs, repair)
    area.put_all(text, [*files, files[0]])
    return area, [file[0] for file in files]


def test_an_area_has_each_file_once_and_gives_it_its_name(blobs: BlobStore) -> None:
    area, digests = taken_in(blobs)
    assert area.hand_over() == digests
    assert area.hand_over() == []
    assert area.published == set(digests)
    area.let_go(digests[:2])
    assert area.digests == digests[2:]
    assert area.published == set(digests[2:])
    assert len(os.listdir(area.path)) == 3
    area.close()
    assert all(blobs.is_intact(digest) for digest in digests)


@pytest.mark.parametrize("repair", [False, True])
def test_an_area_replaces_what_is_damaged(blobs: BlobStore, repair: bool) -> None:
    digests = [digest_bytes(content) for content in SOME]
    plant(blobs, digests[1], SOME[1])
    plant(blobs, digests[2], b"X" * len(SOME[2]) if repair else b"")
    area, _ = taken_in(blobs, repair=repair)
    assert area.published == set()
    area.publish()
    assert area.published == set(digests) - {digests[1]}  # whose name is another addition's
    area.close()
    assert all(blobs.is_intact(digest) for digest in digests)


@pytest.mark.parametrize("repair", [False, True])
def test_an_area_takes_files_of_a_folder(blobs: BlobStore, scratch: Path, repair: bool) -> None:
    folder, files = in_a_folder(scratch / "folder", [*SOME, SOME[0]])
    area = new_area(blobs, repair)
    area.move_all(folder, files)
    assert area.digests == [file[0] for file in files[:5]]
    assert len(os.listdir(folder)) == 1
    area.publish()
    area.close()
    assert all(blobs.is_intact(file[0]) for file in files)


def test_an_area_says_what_it_could_not_write(blobs: BlobStore) -> None:
    area = new_area(blobs)
    text, files = in_one_text(SOME)
    with open(f"{area.path}/{files[1][0].hex()}", "w"):
        pass
    with pytest.raises(BlobError, match=f"{files[1][0].hex()}' can't be written: File exists"):
        area.put_all(text, files)
    area.close()


def test_what_was_published_when_that_failed_is_known(blobs: BlobStore) -> None:
    area, digests = taken_in(blobs)
    folder = os.path.dirname(blobs.path(digests[2]))
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    with open(folder, "w"):
        pass
    with pytest.raises(BlobError, match="can't be written: Not a directory"):
        area.publish()
    for digest in area.published:
        if digest != digests[2]:
            area.withdraw(digest)
    area.close()
    assert list(blobs.all_digests()) == []


INTERRUPTED = """
import os, sys
from storefs.castore.many_blobs import first_missing, link_all, unlink_all, write_all
area, blobs = map(os.fsencode, sys.argv[1:])
digests = [bytes([number]) * 32 for number in range(20)]
assert write_all(memoryview(bytes(50)), [(digest, 2, 40) for digest in digests], area, blobs, 2, 0o444) == [0] * 20
assert link_all(digests, 0, area, blobs, 2) == 20
assert first_missing(digests, 0, blobs, 2) == 20
unlink_all(digests, area)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
@pytest.mark.parametrize("call", ["openat", "write", "linkat", "unlinkat"])
def test_a_call_that_a_signal_ended_is_made_again(scratch: Path, area: bytes, call: str) -> None:
    """As for single files, see test_whole_files.py."""
    blobs = scratch / "blobs"
    paths = [os.fsdecode(area), str(blobs)]
    for number in range(20):
        (blobs / f"{number:02x}").mkdir(parents=True)
        paths.append(os.fsdecode(name(area, bytes([number]) * 32)))
    trace = scratch / "trace"
    tracer = ["strace", "-f", "-qq", "-o", str(trace), *(word for path in paths for word in ("-P", path))]
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error=EINTR:when=1+2"]
    subprocess.run([*tracer, *inject, sys.executable, "-c", INTERRUPTED, *paths[:2]], check=True)
    assert trace.read_text().count("EINTR") > 10
    assert os.listdir(area) == []
    assert sum(len(files) for _, _, files in os.walk(blobs)) == 20
