"""Listing blobs, compiled and as plain Python."""

from __future__ import annotations

import os
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


def test_rows_are_digests_and_sizes(blob_sizes: ModuleType, scratch: Path) -> None:
    expected = set()
    for number in range(3000):
        digest = f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4
        (scratch / digest[:2]).mkdir(exist_ok=True)
        (scratch / digest[:2] / digest[2:]).write_bytes(b"x" * (number % 7))
        expected.add(row(digest, number % 7))
    rows = blob_sizes.list_blobs(str(scratch))
    assert rows == b"".join(sorted(expected))


def test_rows_are_sorted_and_each_is_once(blob_sizes: ModuleType) -> None:
    rows = [row(f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4, size) for number in range(50) for size in (300, 2)]
    given = b"".join(rows + rows[20:70] + rows[::-7])
    before = bytes(bytearray(given))
    assert blob_sizes.sorted_rows(given) == b"".join(sorted(rows))
    assert given == before
    assert blob_sizes.sorted_rows(b"") == b""
    assert blob_sizes.sorted_rows(rows[0]) == rows[0]


def test_sizes_need_not_be_asked_for(blob_sizes: ModuleType, scratch: Path) -> None:
    (scratch / "ab").mkdir()
    (scratch / "ab" / ("c" * 62)).write_bytes(b"12")
    assert blob_sizes.list_blobs(str(scratch), sizes=False) == row("ab" + "c" * 62, 0)


def test_folders_of_one_digit_are_listed_too(blob_sizes: ModuleType, scratch: Path) -> None:
    digests = ["0123456789abcdef" * 4, "0f" * 32, "00" * 32]
    (scratch / "0").mkdir()
    for digest in digests:
        (scratch / "0" / digest[1:]).write_bytes(b"")
    rows = blob_sizes.list_blobs(str(scratch))
    assert {rows[start : start + 32].hex() for start in range(0, len(rows), blob_sizes.ROW_SIZE)} == set(digests)


def test_what_is_no_blob_is_passed_over(blob_sizes: ModuleType, scratch: Path) -> None:
    (scratch / "README").write_bytes(b"")
    (scratch / "no").mkdir()
    (scratch / "ab").mkdir()
    for name in ("c" * 61, "c" * 63, "c" * 61 + "z", "C" * 62, "c" * 124, ".hidden"):
        (scratch / "ab" / name).write_bytes(b"x")
    (scratch / "AB").mkdir()
    (scratch / "AB" / ("c" * 62)).write_bytes(b"x")
    assert blob_sizes.list_blobs(str(scratch)) == b""
    assert blob_sizes.list_blobs(f"{scratch}/missing") == b""
    assert blob_sizes.list_blobs(f"{scratch}/README") == b""


def test_what_is_no_regular_file_has_no_possible_size(blob_sizes: ModuleType, scratch: Path) -> None:
    (scratch / "ab").mkdir()
    (scratch / "ab" / ("c" * 62)).symlink_to("x" * 100)
    assert blob_sizes.list_blobs(str(scratch)) == row("ab" + "c" * 62, 2**64 - 1)


def test_a_directory_that_cannot_be_read_is_an_error(blob_sizes: ModuleType, scratch: Path) -> None:
    os.symlink("loop", scratch / "loop")
    with pytest.raises(OSError, match="loop"):
        blob_sizes.list_blobs(f"{scratch}/loop")
    with blob_sizes.BlobSizes(f"{scratch}/loop") as sizes:
        sizes.start()
        with pytest.raises(OSError, match="loop"):
            sizes.wait()


def test_whatever_goes_wrong_is_raised_and_no_listing_of_nothing(blob_sizes: ModuleType) -> None:
    # No name of the file system, and no OSError.
    with blob_sizes.BlobSizes("\ud800") as sizes:
        sizes.start()
        with pytest.raises(UnicodeEncodeError):
            sizes.wait()


def test_where_no_thread_can_be_made_nobody_waits_for_it(blob_sizes: ModuleType, scratch: Path) -> None:
    with no_new_threads(), pytest.raises(RuntimeError, match="thread"), blob_sizes.BlobSizes(str(scratch)) as sizes:
        sizes.start()


def test_a_thread_lists_meanwhile(blob_sizes: ModuleType, scratch: Path) -> None:
    (scratch / "ab").mkdir()
    (scratch / "ab" / ("c" * 62)).write_bytes(b"12")
    with blob_sizes.BlobSizes(str(scratch)) as sizes:
        sizes.start()
        assert sizes.wait() == row("ab" + "c" * 62, 2)
    with blob_sizes.BlobSizes(str(scratch)) as sizes:
        sizes.start()  # nobody asks for the answer
    with blob_sizes.BlobSizes(str(scratch)):
        pass
