"""SHA-256 with the processor's instructions is what hashlib computes, however the bytes arrive."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.core.sha256 import sha256

BYTES = bytes(range(256)) * 5


@pytest.mark.parametrize("size", [*range(140), 1000, 1279])
def test_every_length_around_the_ends_of_blocks(size):
    assert sha256(BYTES[:size]).digest() == hashlib.sha256(BYTES[:size]).digest()


@given(st.lists(st.binary(max_size=200), max_size=12))
def test_pieces_are_as_the_whole(pieces):
    state = sha256()
    for number, piece in enumerate(pieces):
        state.update(memoryview(piece) if number % 2 else piece)
        state.digest()  # which does not end it
    assert state.hexdigest() == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_only_bytes_are_hashed():
    with pytest.raises(TypeError):
        sha256("text")
