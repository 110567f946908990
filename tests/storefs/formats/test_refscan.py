from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storefs.formats import hash_part_search, refscan
from storefs.formats.refscan import ReferenceScanner

ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
RANDOM = random.Random(7)
PARTS = ["".join(RANDOM.choices(ALPHABET, k=32)) for _ in range(40)]


def scan(pieces: list[bytes], parts: list[str] = PARTS) -> set[str]:
    """What both ways of searching find; they are one where nothing is compiled."""
    found = []
    for searches in {True, False} if hash_part_search.SEARCHES else {False}:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(refscan, "SEARCHES", searches)
            scanner = ReferenceScanner(parts)
        for piece in pieces:
            scanner.feed(piece)
        found.append(scanner.found)
    assert all(each == found[0] for each in found)
    return found[0]


@pytest.mark.parametrize("filler", [b"\0", b"a", b"!", b"\xff"])
def test_found_at_every_alignment(filler: bytes) -> None:
    part = PARTS[0]
    for before in range(70):
        for after in (0, 1, 2, 40):
            assert scan([filler * before + part.encode() + filler * after]) == {part}


def test_found_across_every_border() -> None:
    data = b"/nix/store/" + PARTS[3].encode() + b"-x"
    for border in range(len(data) + 1):
        assert scan([data[:border], data[border:]]) == {PARTS[3]}
    assert scan([data[at : at + 1] for at in range(len(data))]) == {PARTS[3]}


def test_found_across_the_borders_of_internal_pieces() -> None:
    for before in range(65536 - 40, 65536 + 8):
        assert scan([b"\0" * before + PARTS[5].encode() + b"\0" * 70000]) == {PARTS[5]}


def test_a_boundary_separates() -> None:
    part = PARTS[0].encode()
    scanner = ReferenceScanner(PARTS)
    scanner.feed(part[:20])
    scanner.boundary()
    scanner.feed(part[20:])
    assert scanner.found == set()


def test_overlapping_candidates_are_both_found() -> None:
    text = "".join(RANDOM.choices(ALPHABET, k=40))
    assert scan([text.encode()], [text[:32], text[5:37], text[8:]]) == {text[:32], text[5:37], text[8:]}


def test_candidates_sharing_words_do_not_hide_each_other() -> None:
    one, two = "a" * 32, "a" * 31 + "b"
    assert scan([b"." + two.encode()], [one, two]) == {two}
    assert scan([b"." + one.encode(), two.encode()], [one, two]) == {one, two}


def test_changed_character_is_no_reference() -> None:
    for at in range(32):
        changed = PARTS[1][:at] + "t" + PARTS[1][at + 1 :]
        assert scan([changed.encode() * 3]) == set()


@given(st.data())
@settings(derandomize=True, deadline=None, max_examples=120)
def test_agrees_with_the_definition(data: st.DataObject) -> None:
    pieces = data.draw(
        st.lists(
            st.sampled_from([part.encode() for part in PARTS[:6]])
            | st.sampled_from([part[:17].encode() for part in PARTS[:6]])
            | st.sampled_from([part[17:].encode() for part in PARTS[:6]])
            | st.text(ALPHABET, max_size=90).map(str.encode)
            | st.binary(max_size=20)
            | st.sampled_from([b"\0" * 300, b"q" * 500]),
            max_size=12,
        )
    )
    whole = b"".join(pieces)
    assert scan(pieces) == {part for part in PARTS if part.encode() in whole}


def test_dense_base32_text_takes_the_other_path_and_finds_the_same() -> None:
    rng = random.Random(1)
    lines = ["".join(rng.choices(ALPHABET, k=35)) for _ in range(4000)]
    for index, part in enumerate(PARTS):
        lines[index * 97 + 3] = "t" + part + "t"
    whole = "\n".join(lines).encode()
    assert scan([whole]) == set(PARTS)
    assert scan([whole[at : at + 5000] for at in range(0, len(whole), 5000)]) == set(PARTS)


@pytest.mark.parametrize("size", [1 << 20, 70_001, 65_536])
def test_how_closely_it_looks_changes_with_what_it_sees(size: int) -> None:
    """Machine code, prose, hexadecimal and back, in pieces that end anywhere; every candidate in each of them."""
    rng = random.Random(2)
    words = ["".join(rng.choices("abcdfghijklmnpqrsvwxyz", k=rng.randrange(2, 14))) for _ in range(500)]
    kinds = (
        lambda: rng.randbytes(140_000),
        lambda: " ".join(rng.choices(words, k=18_000)).encode(),
        lambda: rng.randbytes(70_000).hex().encode(),
    )
    for part in PARTS[:2]:
        for first, second in itertools.product(kinds, repeat=2):
            before, after = first(), second()
            at = rng.randrange(len(before))
            whole = before[:at] + part.encode() + before[at:] + after
            assert scan([whole[start : start + size] for start in range(0, len(whole), size)]) == {part}
            late = before + after[:at] + part.encode() + after[at:]
            assert scan([late[start : start + size] for start in range(0, len(late), size)]) == {part}


def test_a_piece_may_be_any_buffer() -> None:
    whole = b"x" * 100 + PARTS[2].encode()
    assert scan([bytearray(whole), memoryview(whole)[:3]]) == {PARTS[2]}  # type: ignore[list-item]


def test_many_candidates_and_none() -> None:
    many = ["".join(RANDOM.choices(ALPHABET, k=32)) for _ in range(5000)]
    text = "-".join(many[::7]).encode()
    assert scan([text], many) == set(many[::7])
    assert scan([text], []) == set()


def test_wrong_length_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="not the hash part"):
        ReferenceScanner(["abc"])
