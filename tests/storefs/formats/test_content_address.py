from __future__ import annotations

import pytest

from storefs.formats.content_address import (
    FLAT,
    RECURSIVE,
    TEXT,
    BadContentAddress,
    ContentAddress,
    parse_content_address,
    parse_method,
)
from storefs.formats.hashes import BadHash, hash_bytes
from storefs.formats.store_path import StoreDir

DIGEST = hash_bytes("sha256", b"x")
STORE = StoreDir("/nix/store")


@pytest.mark.parametrize(
    ("method", "prefix"), [(TEXT, "text:sha256:"), (FLAT, "fixed:sha256:"), (RECURSIVE, "fixed:r:sha256:")]
)
def test_round_trip(method: str, prefix: str) -> None:
    address = ContentAddress(method, DIGEST)
    assert str(address) == prefix + DIGEST.to_string("base32", False)
    assert parse_content_address(str(address)) == address
    assert parse_method(prefix.rstrip(":")) == (method, "sha256")


def test_gives_the_path() -> None:
    assert ContentAddress(TEXT, DIGEST).store_path(STORE, "n") == STORE.make_text_path("n", DIGEST)
    assert ContentAddress(FLAT, DIGEST).store_path(STORE, "n") == STORE.make_fixed_output_path(False, DIGEST, "n")
    assert ContentAddress(RECURSIVE, DIGEST).store_path(STORE, "n") == STORE.make_fixed_output_path(True, DIGEST, "n")


@pytest.mark.parametrize("text", ["", "sha256:abc", "foo:sha256:abc", "text:sha1:" + "0" * 32])
def test_refuses_others(text: str) -> None:
    with pytest.raises((BadContentAddress, BadHash)):
        parse_content_address(text)


def test_a_text_is_known_by_its_sha256() -> None:
    with pytest.raises(BadContentAddress, match="should use sha256"):
        ContentAddress(TEXT, hash_bytes("sha1", b""))
