from __future__ import annotations

import pytest

from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StoreDir, StorePath

A, B, C = (StorePath(f"{'0' * 32}-{name}") for name in "abc")
DIGEST = hash_bytes("sha256", b"x")


def test_references_and_signatures_are_sets_in_order() -> None:
    info = PathInfo(A, DIGEST, 1, [C, B, C], signatures=["k2:x", "k1:y", "k1:y"])
    assert info.references == (B, C)
    assert info.signatures == ("k1:y", "k2:x")


def test_is_a_value() -> None:
    info = PathInfo(A, DIGEST, 1, [B])
    assert info == PathInfo(A, DIGEST, 1, (B,))
    assert info != info.replace(nar_size=2)
    assert info.replace(nar_size=2).nar_size == 2
    assert hash(info) == hash(PathInfo(A, DIGEST, 1, (B,)))
    with pytest.raises(AttributeError):
        info.nar_size = 3
    with pytest.raises(TypeError, match="no attribute"):
        info.replace(size=3)


def test_the_signed_text_is_that_of_nix() -> None:
    info = PathInfo(A, DIGEST, 7, [B, C])
    nar_hash = DIGEST.to_string("base32", True)
    assert info.fingerprint(StoreDir("/s")) == f"1;/s/{A};{nar_hash};7;/s/{B},/s/{C}".encode()
