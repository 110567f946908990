"""Searching directory records: any damage raises, nothing behind a record is read, copies are found again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefs.metadata import trees
from storefs.metadata.entry_search import RecentDirectories, find_entry

RECORD = trees.encode_directory(77, [(b"name-%02d" % n, 100 + n, n, trees.MODE_REGULAR) for n in range(20)])


@given(st.integers(0, len(RECORD)), st.binary(max_size=260))
def test_a_record_that_was_cut_raises_or_answers_as_if_it_was_whole(length: int, name: bytes) -> None:
    for wanted in (name, b"name-13"):
        try:
            position = find_entry(RECORD[:length], wanted)
        except trees.CorruptTreeError:
            continue
        assert position == find_entry(RECORD, wanted)
        assert position is None or position + trees.DIRENT_NAME + len(wanted) <= length


@given(st.lists(st.tuples(st.integers(0, len(RECORD) - 1), st.integers(0, 255)), max_size=8))
def test_any_bytes_are_an_answer_or_an_error(changes: list[tuple[int, int]]) -> None:
    record = bytearray(RECORD)
    for at, value in changes:
        record[at] = value
    try:
        position = find_entry(memoryview(record), b"name-07")
    except trees.CorruptTreeError:
        return
    if position is not None:
        assert record[position + trees.DIRENT_NAME :][:7] == b"name-07"


@pytest.mark.parametrize("count", [900, 2**31, 2**32 - 1])
def test_more_entries_than_there_is_room_for_are_damage(count: int) -> None:
    record = count.to_bytes(4, "little") + RECORD[4:]
    with pytest.raises(trees.CorruptTreeError):
        find_entry(record, b"name-99")


def test_copies_are_kept_until_another_directory_needs_their_place() -> None:
    recent = RecentDirectories()
    assert recent.get(77) is None
    recent.keep(77, memoryview(RECORD))
    assert recent.get(77) == RECORD
    assert recent.get(77 + 64) is None
    assert recent.get(2**63 + 77) is None
    recent.keep(77 + 64, RECORD[:96])
    assert recent.get(77) is None
    assert recent.get(77 + 64) == RECORD[:96]
    recent.clear()
    assert recent.get(77 + 64) is None
    assert recent.get(0) is None
