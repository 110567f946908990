from __future__ import annotations

import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefs.formats.hashes import (
    BASES,
    SIZES,
    BadHash,
    Hash,
    Hasher,
    compress_digest,
    hash_bytes,
    parse_hash,
    parse_sri,
    parse_unprefixed,
)

ALGORITHMS = sorted(SIZES)


@pytest.mark.parametrize("algo", ALGORITHMS)
@given(content=st.binary(max_size=100))
def test_every_spelling_reads_back(algo: str, content: bytes) -> None:
    found = hash_bytes(algo, content)
    assert found.digest == hashlib.new(algo, content, usedforsecurity=False).digest()
    for base in BASES:
        assert parse_hash(found.to_string(base, True), None) == found
        assert parse_hash(found.to_string(base, True), algo) == found
        if base != "sri":
            assert parse_hash(found.to_string(base, False), algo) == found
            assert parse_unprefixed(found.to_string(base, False), algo) == found
    assert parse_sri(found.to_string("sri", False)) == found


def test_known_spellings() -> None:
    empty = hash_bytes("sha256", b"")
    assert empty.to_string("base32", True) == "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"
    assert empty.to_string("sri", True) == "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    assert empty.to_string("base64", True) == "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    assert empty.to_string("base16", False) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("text", "algo", "message"),
    [
        ("abc", None, "does not include a type"),
        ("sha3:abc", None, "unknown hash algorithm 'sha3'"),
        ("sha256:abc", None, "has wrong length for hash type 'sha256'"),
        ("sha1:" + "0" * 40, "sha256", "should have type 'sha256'"),
        ("g" * 32, "md5", "invalid base-16"),
        ("e" * 52, "sha256", "invalid base-32"),
        ("z" * 52, "sha256", "invalid base-32"),
        ("sha256-" + "A" * 42, None, "invalid SRI"),
        ("sha256-" + "A" * 40, None, "invalid SRI"),
        ("!" * 44, "sha256", "invalid character in Base64 string: '!'"),
        ("A" * 40 + "====", "sha256", "invalid base-64"),
        ("", "sha256", "wrong length"),
        ("sha256-é", None, "invalid character in Base64 string: 'é'"),
    ],
)
def test_refuses_malformed_ones(text: str, algo: str | None, message: str) -> None:
    with pytest.raises(BadHash, match=message):
        parse_hash(text, algo)


def test_base64_needs_no_padding() -> None:
    """Nixpkgs has such hashes."""
    whole = parse_hash("sha256-" + "A" * 43 + "=", None)
    for text in ("sha256-" + "A" * 43, "sha256-" + "A" * 20 + "\n" + "A" * 23, "sha256-" + "A" * 43 + "=B"):
        assert parse_hash(text, None) == whole


def test_is_a_value() -> None:
    one, same = Hash("sha1", bytes(20)), Hash("sha1", bytes(20))
    assert one == same
    assert hash(one) == hash(same)
    assert one != Hash("sha1", bytes(19) + b"\1")
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError):
        one.algo = "md5"
    with pytest.raises(BadHash):
        Hash("sha1", b"short")


def test_hasher_counts_and_goes_on() -> None:
    hasher = Hasher("sha256")
    hasher.update(b"ab")
    assert hasher.finish() == hash_bytes("sha256", b"ab")
    hasher.update(memoryview(b"c"))
    assert hasher.finish() == hash_bytes("sha256", b"abc")
    assert hasher.size == 3


def test_compression_folds_every_byte() -> None:
    digest = bytes(range(32))
    folded = compress_digest(digest, 20)
    assert folded == bytes((i ^ (i + 20)) if i < 12 else i for i in range(20))
