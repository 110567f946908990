"""Drives with a volatile write cache: what is on them after a cut."""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "vm-tests"))

from vmdriver import write_cache

SECTOR = 512
FLUSH, FUA, DISCARD = 1, 2, 4


class Log:
    """Writes what QEMU's blklogwrites writes (the format of dm-log-writes)."""

    def __init__(self) -> None:
        self.data = struct.pack("<QQQI", 0x6A736677736872, 1, 0, SECTOR).ljust(SECTOR, b"\0")

    def write(self, sector: int, content: bytes, flags: int = 0) -> Log:
        self.data += struct.pack("<QQQQ", sector, len(content) // SECTOR, flags, 0).ljust(SECTOR, b"\0") + content
        return self

    def discard(self, sector: int, count: int) -> Log:
        self.data += struct.pack("<QQQQ", sector, count, DISCARD, 0).ljust(SECTOR, b"\0")
        return self

    def flush(self) -> Log:
        return self.write(0, b"", FLUSH)


def sector(letter: str) -> bytes:
    return letter.encode() * SECTOR


class Never(random.Random):
    """Loses every write that may be lost."""

    def random(self) -> float:
        return 1.0


@pytest.fixture
def disk(scratch: Path) -> Path:
    path = scratch / "disk"
    path.write_bytes(sector("-") * 8)
    return path


def after(disk: Path, log: bytes, choice: random.Random | None) -> str:
    file = disk.with_name("log")
    file.write_bytes(log)
    write_cache.settle(disk, file, choice)
    content = disk.read_bytes()
    assert len(content) == 8 * SECTOR
    return "".join(chr(content[place]) for place in range(0, len(content), SECTOR))


def test_what_was_flushed_is_there_and_the_rest_may_be_lost(disk: Path) -> None:
    log = Log().write(0, sector("a")).write(2, sector("b") * 2).flush().write(4, sector("c")).data
    assert after(disk, log, Never()) == "a-bb----"


def test_a_machine_that_ended_by_itself_loses_nothing(disk: Path) -> None:
    log = Log().write(0, sector("a")).flush().write(4, sector("c")).write(4, sector("d")).data
    assert after(disk, log, None) == "a---d---"


def test_a_write_through_the_cache_is_never_lost(disk: Path) -> None:
    log = Log().write(0, sector("a")).write(1, sector("f"), FUA).data
    assert after(disk, log, Never()) == "-f------"


def test_discards_have_no_data_in_the_log(disk: Path) -> None:
    log = Log().discard(0, 4).write(1, sector("a")).flush().data
    assert after(disk, log, Never()) == "-a------"


def test_a_torn_end_is_the_end(disk: Path) -> None:
    whole = Log().write(0, sector("a")).flush().data
    torn = Log().write(1, sector("b") * 3).data[SECTOR:-10]
    assert after(disk, whole + torn, None) == "a-------"
    assert after(disk, whole + bytes(SECTOR) + torn, None) == "a-------"


def test_each_choice_keeps_some_and_loses_some(disk: Path) -> None:
    log = Log()
    for place in range(8):
        log.write(place, sector("x"))
    seen = {after(reset(disk), log.data, random.Random(seed)) for seed in range(20)}
    assert len(seen) > 5
    assert all("x" in each and "-" in each for each in list(seen)[:3])


def reset(disk: Path) -> Path:
    disk.write_bytes(sector("-") * 8)
    return disk


def test_a_log_that_was_never_begun_changes_nothing(disk: Path) -> None:
    assert after(disk, b"", None) == "--------"
