from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from storefs.castore.contents import Contents
from storefs.castore.digest import digest_bytes

if TYPE_CHECKING:
    from storefs.castore.intake_area import IntakeArea

PIECES = [b"", b"small", *(b"%d " % number * number for number in range(1500))]


def no_area() -> IntakeArea:
    raise AssertionError("nothing here is a blob")


def full() -> Contents:
    contents = Contents(no_area, 1 << 20)
    for piece in PIECES:
        assert contents.add(piece) == digest_bytes(piece)
    return contents


def test_what_was_set_aside_is_what_it_was_and_has_no_name(scratch: Path) -> None:
    handed = full().hand_over()
    handed.set_aside(f"{scratch}/aside")
    assert os.listdir(scratch) == []
    assert [bytes(handed.inline(digest_bytes(piece))) for piece in PIECES] == PIECES


def test_nothing_can_be_set_aside_too(scratch: Path) -> None:
    contents = Contents(no_area, 100)
    contents.add(b"")
    contents.set_aside(f"{scratch}/aside")
    assert bytes(contents.inline(digest_bytes(b""))) == b""


def test_where_there_is_no_room_it_stays_in_memory(scratch: Path) -> None:
    contents = full()
    contents.set_aside(f"{scratch}/missing/aside")
    assert [contents.inline(digest_bytes(piece)) for piece in PIECES] == PIECES


def test_its_descriptor_ends_with_it(scratch: Path) -> None:
    before = os.listdir("/proc/self/fd")
    handed = full().hand_over()
    handed.set_aside(f"{scratch}/aside")
    handed.inline(digest_bytes(b"small"))
    del handed
    assert os.listdir("/proc/self/fd") == before


def test_handing_on_lets_go_of_what_was_set_aside(scratch: Path) -> None:
    before = os.listdir("/proc/self/fd")
    handed = full().hand_over()
    handed.set_aside(f"{scratch}/aside")
    handed.inline(digest_bytes(b"small"))
    then = handed.hand_over()
    assert [bytes(then.inline(digest_bytes(piece))) for piece in PIECES] == PIECES
    del then
    assert os.listdir("/proc/self/fd") == before
    assert "/aside (deleted)" not in Path("/proc/self/maps").read_text()
