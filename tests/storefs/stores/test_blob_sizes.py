"""Listing blobs, compiled and as plain Python."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.threads import no_new_threads
from tests.variants import VARIANTS, variant

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(params=VARIANTS)
def blob_sizes(request: pytest.FixtureRequest) -> ModuleType:
    return variant("storefs.stores.blob_sizes", request.param)


def row(digest: str, size: int) -> bytes:
    return bytes.fromhex(digest) + size.to_bytes(8, "little")


def list_blobs(module: ModuleType, directory: str, sizes: bool = True) -> list[bytes]:
    with module.BlobSizes(directory, sizes) as listing:
        listing.start()
        rows = listing.wait()
    return sorted(rows[start : start + module.ROW_SIZE] for start in range(0, len(rows), module.ROW_SIZE))


@pytest.mark.parametrize("digits", [1, 2])
def test_rows_are_digests_and_sizes(blob_sizes: ModuleType, scratch: Path, digits: int) -> None:
    expected = []
    for number in range(1000):
        digest = f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4
        (scratch / digest[:digits]).mkdir(exist_ok=True)
        (scratch / digest[:digits] / digest[digits:]).write_bytes(b"x" * (number % 7))
        expected.append(row(digest, number % 7))
    assert list_blobs(blob_sizes, str(scratch)) == sorted(expected)


@pytest.mark.parametrize("processors", [{0}, set(range(40))], ids=["one", "many"])
def test_each_folder_is_listed_once_by_however_many_threads(
    blob_sizes: ModuleType, scratch: Path, processors: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: processors)
    expected = []
    for number in range(256):
        digest = f"{number:02x}" + "7" * 62
        (scratch / digest[:2]).mkdir()
        (scratch / digest[:2] / digest[2:]).write_bytes(b"x")
        expected.append(row(digest, 1))
    assert list_blobs(blob_sizes, str(scratch)) == expected


def test_sizes_need_not_be_asked_for(blob_sizes: ModuleType, scratch: Path) -> None:
    (scratch / "ab").mkdir()
    (scratch / "ab" / ("c" * 62)).write_bytes(b"12")
    assert list_blobs(blob_sizes, str(scratch), sizes=False) == [row("ab" + "c" * 62, 0)]


def test_folders_of_any_number_of_digits_may_lie_beside_each_other(blob_sizes: ModuleType, scratch: Path) -> None:
    digests = ["00" * 32, "0123456789abcdef" * 4, "0f" * 32]
    for digits, digest in zip((1, 2, 63), digests, strict=True):
        (scratch / digest[:digits]).mkdir(exist_ok=True)
        (scratch / digest[:digits] / digest[digits:]).write_bytes(b"")
    (scratch / ("a" * 64)).mkdir()
    assert list_blobs(blob_sizes, str(scratch)) == [row(digest, 0) for digest in digests]


def test_what_is_no_blob_is_passed_over(blob_sizes: ModuleType, scratch: Path) -> None:
    (scratch / "README").write_bytes(b"")
    (scratch / "no").mkdir()
    (scratch / "abc").write_bytes(b"")
    (scratch / "ab").mkdir()
    for name in ("c" * 61, "c" * 63, "c" * 61 + "z", "C" * 62, "c" * 124, ".hidden"):
        (scratch / "ab" / name).write_bytes(b"x")
    (scratch / "AB").mkdir()
    (scratch / "AB" / ("c" * 62)).write_bytes(b"x")
    assert list_blobs(blob_sizes, str(scratch)) == []
    assert list_blobs(blob_sizes, f"{scratch}/missing") == []
    assert list_blobs(blob_sizes, f"{scratch}/README") == []


def test_what_is_no_regular_file_has_no_possible_size(blob_sizes: ModuleType, scratch: Path) -> None:
    (scratch / "ab").mkdir()
    (scratch / "ab" / ("c" * 62)).symlink_to("x" * 100)
    assert list_blobs(blob_sizes, str(scratch)) == [row("ab" + "c" * 62, 2**64 - 1)]


@pytest.mark.parametrize("loop", ["loop", "ab"])
def test_a_directory_that_cannot_be_read_is_an_error(blob_sizes: ModuleType, scratch: Path, loop: str) -> None:
    """At the top, or one of the folders: some thread or other comes to that."""
    for number in range(20):
        (scratch / f"{number:02x}").mkdir()
    os.symlink(loop, scratch / loop)
    directory = f"{scratch}/loop" if loop == "loop" else str(scratch)
    with pytest.raises(OSError, match=re.escape(directory)):
        list_blobs(blob_sizes, directory)


def test_whatever_goes_wrong_is_raised_and_no_listing_of_nothing(blob_sizes: ModuleType) -> None:
    with pytest.raises(UnicodeEncodeError):  # no name of the file system, and no OSError
        list_blobs(blob_sizes, "\ud800")


def test_where_no_thread_can_be_made_whoever_waits_does_it(blob_sizes: ModuleType, scratch: Path) -> None:
    (scratch / "ab").mkdir()
    (scratch / "ab" / ("c" * 62)).write_bytes(b"12")
    with no_new_threads():
        assert list_blobs(blob_sizes, str(scratch)) == [row("ab" + "c" * 62, 2)]


def test_what_nobody_waits_for_ends(blob_sizes: ModuleType, scratch: Path) -> None:
    (scratch / "ab").mkdir()
    (scratch / "ab" / ("c" * 62)).write_bytes(b"12")
    with blob_sizes.BlobSizes(str(scratch)) as sizes:
        sizes.start()
    with blob_sizes.BlobSizes(str(scratch)):
        pass
