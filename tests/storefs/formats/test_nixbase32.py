from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefs.formats.nixbase32 import ALPHABET, BadBase32, decode, encode, encoded_length
from tests.oracle.real_nix import RealNix


@given(st.binary(min_size=1, max_size=64))
def test_round_trip(data: bytes) -> None:
    text = encode(data)
    assert len(text) == encoded_length(len(data))
    assert set(text) <= set(ALPHABET)
    assert decode(text) == data


@pytest.mark.parametrize(
    ("hexadecimal", "text"),
    [
        ("e4fd8ba5f7bbeaea5ace89fe10255536cd60dab6", "nvd61k9nalji1zl9rrdfmsmvyyjqpzg4"),
        (
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
        ),
        ("00", "00"),
        ("ff", "7z"),
    ],
)
def test_known_spellings(hexadecimal: str, text: str) -> None:
    assert encode(bytes.fromhex(hexadecimal)) == text
    assert decode(text).hex() == hexadecimal


@pytest.mark.parametrize("text", ["0", "e0", "Z0", "zz", "0 ", "é0", "000"])
def test_refuses_what_no_bytes_spell(text: str) -> None:
    with pytest.raises(BadBase32, match="invalid base-32"):
        decode(text)


@pytest.mark.oracle
def test_spells_as_nix(real_nix: RealNix) -> None:
    digests = [bytes([index] * 20) for index in range(0, 256, 37)]
    arguments = ["--type", "sha1", "--to-base32", *(digest.hex() for digest in digests)]
    assert real_nix.run("nix-hash", *arguments).decode().split() == [encode(digest) for digest in digests]
