from __future__ import annotations

import pytest

from storefs.formats.hash_modulo import ModuloHasher
from storefs.formats.hashes import hash_bytes

PART = "0123456789abcdfghijklmnpqrsvwxyz"


@pytest.mark.parametrize("size", [1, 7, 31, 32, 33, 1000])
def test_places_are_hashed_after_zeros_wherever_pieces_end(size: int) -> None:
    content = b"ab" + PART.encode() * 2 + b"c" * 50 + PART[:-1].encode()
    hasher = ModuloHasher("sha256", PART)
    for start in range(0, len(content), size):
        hasher.update(content[start : start + size])
    zeroed = content.replace(PART.encode(), bytes(32))
    assert hasher.finish() == hash_bytes("sha256", zeroed + b"|2|34")


def test_without_itself_it_is_the_plain_hash() -> None:
    hasher = ModuloHasher("sha256", PART)
    hasher.update(b"x" * 100)
    assert hasher.finish() == hash_bytes("sha256", b"x" * 100)
