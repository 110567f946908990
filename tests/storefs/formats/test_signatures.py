from __future__ import annotations

import json
from pathlib import Path

import pytest

from storefs.formats.content_address import RECURSIVE, ContentAddress
from storefs.formats.hashes import Hash, parse_hash
from storefs.formats.path_info import PathInfo
from storefs.formats.signatures import (
    BadKeyError,
    PublicKeys,
    SecretKey,
    is_content_addressed,
    is_trusted,
    sign_info,
)
from storefs.formats.store_path import StoreDir, StorePath
from tests.oracle.real_nix import RealNix, needs_real_nix

STORE = StoreDir("/nix/store")
INFO = PathInfo(
    StorePath("a" * 32 + "-x"), Hash("sha256", bytes(32)), 120, [StorePath("b" * 32 + "-y"), StorePath("a" * 32 + "-x")]
)


def test_signed_info_is_trusted_and_changed_info_is_not() -> None:
    key = SecretKey.generate("test-1")
    keys = PublicKeys([key.public_key()])
    signed = sign_info(INFO, STORE, [key])
    assert keys.verified_by(signed, STORE) == ["test-1"]
    assert is_trusted(signed, STORE, keys)
    for changed in (
        signed.replace(nar_size=121),
        signed.replace(nar_hash=Hash("sha256", b"\1" * 32)),
        signed.replace(references=[]),
        signed.replace(path=StorePath("c" * 32 + "-x")),
    ):
        assert not is_trusted(changed, STORE, keys)
    assert is_trusted(signed.replace(deriver=StorePath("d" * 32 + "-x.drv")), STORE, keys)
    assert not is_trusted(signed, StoreDir("/other"), keys)


def test_a_key_of_the_same_name_does_not_verify() -> None:
    signed = sign_info(INFO, STORE, [SecretKey.generate("test-1")])
    assert not is_trusted(signed, STORE, PublicKeys([SecretKey.generate("test-1").public_key()]))
    assert not is_trusted(signed, STORE, PublicKeys([]))


@pytest.mark.parametrize(
    "signature", ["", ":", "test-1", "test-1:", "test-1:!!", "test-1:AAAA", "test-1:\u00e9", "x:y"]
)
def test_garbage_signatures_are_false(signature: str) -> None:
    keys = PublicKeys([SecretKey.generate("test-1").public_key()])
    assert not keys.verify(b"message", signature)


@pytest.mark.parametrize("text", ["", "name", "name:", ":AAAA", "name:AAAA", "name:***"])
def test_bad_keys_are_refused_without_quoting_the_secret(text: str) -> None:
    with pytest.raises(BadKeyError) as caught:
        SecretKey(text)
    assert "AAAA" not in str(caught.value)
    with pytest.raises(BadKeyError):
        PublicKeys([text])


def test_secret_stays_out_of_repr() -> None:
    key = SecretKey.generate("k")
    assert key.to_string().split(":")[1] not in repr(key)


def test_content_addressed_paths_need_no_signature() -> None:
    content = ContentAddress(RECURSIVE, Hash("sha256", bytes(32)))
    path = content.store_path(STORE, "src")
    info = PathInfo(path, Hash("sha256", bytes(32)), 1, ca=str(content))
    assert is_trusted(info, STORE, PublicKeys([]))
    assert not is_content_addressed(info.replace(references=[INFO.path]), STORE)
    assert not is_content_addressed(info.replace(path=INFO.path), STORE)


@needs_real_nix
@pytest.mark.oracle
@pytest.mark.slow
def test_real_nix_and_we_accept_each_others_keys_and_signatures(tmp_path: Path) -> None:
    nix = RealNix(tmp_path)
    store = StoreDir(nix.store_dir)
    source = tmp_path / "file"
    source.write_text("content")
    path = nix.line("nix-store", "--add", str(source))
    nix.run("nix-store", "--generate-binary-cache-key", "real-1", str(tmp_path / "sk"), str(tmp_path / "pk"))
    secret = SecretKey((tmp_path / "sk").read_text())
    assert secret.public_key() == (tmp_path / "pk").read_text().strip()

    nix.run("nix", "store", "sign", "-k", str(tmp_path / "sk"), path)
    (raw,) = json.loads(nix.run("nix", "path-info", "--json", path))
    info = PathInfo(
        store.parse(raw["path"]), parse_hash(raw["narHash"], None), raw["narSize"], signatures=raw["signatures"]
    )
    keys = PublicKeys([secret.public_key()])
    assert keys.verified_by(info, store) == ["real-1"]
    # Ed25519 is deterministic: the same key and message give the same signature.
    assert sign_info(info.replace(signatures=[]), store, [secret]).signatures == info.signatures

    ours = SecretKey.generate("ours-1")
    (tmp_path / "ours").write_text(ours.to_string())
    nix.run("nix", "store", "sign", "-k", str(tmp_path / "ours"), path)
    nix.run("nix", "store", "verify", "--no-contents", "-n", "1", "--trusted-public-keys", ours.public_key(), path)
