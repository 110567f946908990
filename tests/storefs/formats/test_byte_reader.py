from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefs.formats.byte_reader import ByteReader, UnexpectedEndError


@given(st.lists(st.binary(max_size=20), max_size=10), st.lists(st.integers(0, 30), max_size=10))
def test_exact_reads_do_not_depend_on_the_pieces(pieces: list[bytes], sizes: list[int]) -> None:
    whole = b"".join(pieces)
    reader = ByteReader(pieces)
    position = 0
    for size in sizes:
        if position + size > len(whole):
            with pytest.raises(UnexpectedEndError):
                reader.exact(size)
            return
        assert reader.exact(size) == whole[position : position + size]
        position += size
        assert reader.consumed == position


@given(st.lists(st.binary(max_size=20), max_size=10), st.integers(1, 30))
def test_some_gives_everything_in_order(pieces: list[bytes], limit: int) -> None:
    reader = ByteReader(pieces)
    found = b""
    while not reader.at_end():
        piece = reader.some(limit)
        assert 0 < len(piece) <= limit
        found += bytes(piece)
    assert found == b"".join(pieces)
    with pytest.raises(UnexpectedEndError):
        reader.some(1)


def test_a_piece_that_begins_with_what_is_wanted_is_not_copied() -> None:
    pieces = [b"before", bytes(range(100))]
    reader = ByteReader(pieces)
    reader.exact(6)
    assert reader.exact(100) is pieces[1]


def test_asks_for_no_more_pieces_than_it_needs() -> None:
    asked = []

    def pieces() -> object:
        for piece in (b"abcd", b"efgh"):
            asked.append(piece)
            yield piece

    reader = ByteReader(pieces())  # type: ignore[arg-type]
    assert reader.exact(4) == b"abcd"
    assert asked == [b"abcd"]
