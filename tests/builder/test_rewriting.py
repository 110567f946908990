"""Hash rewriting in streams, whatever their pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.rewriting import rewrite_stream, rewrite_text

OLD, NEW = b"a" * 16 + b"b" * 16, b"c" * 32


@given(
    st.lists(st.sampled_from([OLD, b"a" * 7, b"b" * 9, b"x", OLD[:20]]), max_size=20),
    st.lists(st.integers(1, 40), min_size=1, max_size=50),
)
def test_a_stream_is_rewritten_as_if_it_were_whole(parts: list[bytes], sizes: list[int]) -> None:
    data = b"".join(parts)
    pieces, rest = [], data
    for size in [*sizes, len(data) + 1]:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert b"".join(rewrite_stream(pieces, {OLD: NEW})) == data.replace(OLD, NEW)


def test_a_hash_part_across_a_border_of_64_kib_is_found() -> None:
    data = b"x" * (65536 - 5) + OLD + b"y" * 100
    pieces = [data[:65536], data[65536:]]
    assert b"".join(rewrite_stream(pieces, {OLD: NEW})) == data.replace(OLD, NEW)


def test_values_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        list(rewrite_stream([b"x"], {b"ab": b"c"}))


def test_texts_are_rewritten_for_every_key() -> None:
    assert rewrite_text("one two one", {"one": "eno", "two": "owt"}) == "eno owt eno"
