from __future__ import annotations

import pickle

import pytest

from storefs.formats.hashes import hash_bytes
from storefs.formats.store_path import BadStorePath, StoreDir, StorePath, output_path_name
from tests.oracle.real_nix import RealNix

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
STORE = StoreDir("/nix/store")


def test_knows_its_parts() -> None:
    path = StorePath(f"{HASH}-hello-2.10.drv")
    assert (path.hash_part, path.name, path.is_derivation) == (HASH, "hello-2.10.drv", True)
    assert len(path.digest) == 20
    assert StorePath.from_digest(path.digest, path.name) == path
    assert str(path) == path.base_name


def test_is_a_value() -> None:
    a, b = StorePath(f"{HASH}-a"), StorePath(f"{HASH}-b")
    assert a < b
    assert a == StorePath(f"{HASH}-a")
    assert len({a, StorePath(f"{HASH}-a"), b}) == 2
    assert pickle.loads(pickle.dumps(a)) == a
    with pytest.raises(AttributeError):
        a.base_name = "x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "too short"),
        (HASH, "too short"),
        (f"{HASH}-", "empty name"),
        (f"{HASH}_x", "lacks the dash"),
        (f"{HASH}-a b", "illegal character ' '"),
        (f"{HASH}-a/b", "illegal character '/'"),
        (f"{HASH}-ä", "illegal character"),
        (f"{HASH}-" + "x" * 212, "longer than 211"),
        ("e" * 32 + "-x", "illegal base-32 character 'e'"),
        ("A" * 32 + "-x", "illegal base-32 character 'A'"),
    ],
)
def test_refuses_illegal_names(text: str, message: str) -> None:
    with pytest.raises(BadStorePath, match=message):
        StorePath(text)


def test_the_longest_name_is_legal() -> None:
    assert len(StorePath(f"{HASH}-" + "x" * 211).name) == 211


def test_parses_direct_children_only() -> None:
    path = StorePath(f"{HASH}-x")
    assert STORE.parse(f"/nix/store/{HASH}-x") == path
    assert STORE.parse(f"/nix/store//{HASH}-x/") == path
    assert STORE.parse(f"/nix/store/../store/{HASH}-x") == path
    assert STORE.print(path) == f"/nix/store/{HASH}-x"
    for text in (f"/nix/store/{HASH}-x/bin", f"/nix/{HASH}-x", f"{HASH}-x", "/nix/store", ""):
        with pytest.raises(BadStorePath):
            STORE.parse(text)
        assert STORE.maybe_parse(text) is None


def test_splits_paths_below_a_store_path() -> None:
    path = StorePath(f"{HASH}-x")
    assert STORE.to_store_path(f"/nix/store/{HASH}-x") == (path, "")
    assert STORE.to_store_path(f"/nix/store/{HASH}-x/bin/../lib") == (path, "/lib")
    assert STORE.is_in_store(f"/nix/store/{HASH}-x/bin")
    assert not STORE.is_in_store("/nix/store")
    assert not STORE.is_in_store("/nix/store/../etc")
    assert not STORE.is_in_store("/nix/stores/x")
    with pytest.raises(BadStorePath, match="is not in the Nix store"):
        STORE.to_store_path("/nix/store/../etc/passwd")


def test_the_store_directory_is_absolute() -> None:
    with pytest.raises(BadStorePath):
        StoreDir("nix/store")
    assert StoreDir("/nix/store/").path == "/nix/store"


def test_outputs_are_named_after_the_derivation() -> None:
    assert output_path_name("hello", "out") == "hello"
    assert output_path_name("hello", "dev") == "hello-dev"


def test_only_recursive_sha256_may_have_references() -> None:
    other = StorePath(f"{HASH}-x")
    digest = hash_bytes("sha256", b"")
    with pytest.raises(BadStorePath, match="can't have references"):
        STORE.make_fixed_output_path(False, digest, "x", [other])
    with pytest.raises(BadStorePath, match="can't have references"):
        STORE.make_fixed_output_path(True, hash_bytes("sha1", b""), "x", (), True)
    plain = STORE.make_fixed_output_path(True, digest, "x")
    assert len({plain, STORE.make_fixed_output_path(True, digest, "x", [other])}) == 2
    assert STORE.make_fixed_output_path(True, digest, "x", (), True) != plain


def test_the_order_of_references_does_not_matter() -> None:
    one, two = StorePath(f"{HASH}-1"), StorePath(f"{HASH}-2")
    digest = hash_bytes("sha256", b"")
    assert STORE.make_text_path("x", digest, [one, two]) == STORE.make_text_path("x", digest, [two, one])


def test_a_reference_that_is_named_twice_counts_once() -> None:
    one, digest = StorePath(f"{HASH}-1"), hash_bytes("sha256", b"")
    assert STORE.make_text_path("x", digest, [one, one]) == STORE.make_text_path("x", digest, [one])


@pytest.mark.oracle
@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("algo", ["md5", "sha1", "sha256", "sha512"])
def test_fixed_output_paths_are_those_of_nix(
    real_nix: RealNix, environ: dict[str, str], algo: str, recursive: bool
) -> None:
    directory = StoreDir(environ["NIX_STORE_DIR"])
    found = hash_bytes(algo, b"content")
    flags = ["--recursive"] if recursive else []
    arguments = [*flags, algo, found.to_string("base16", False), "some-name"]
    printed = real_nix.line("nix-store", "--print-fixed-path", *arguments)
    assert directory.print(directory.make_fixed_output_path(recursive, found, "some-name")) == printed


@pytest.mark.oracle
def test_text_and_output_paths_are_those_of_nix(real_nix: RealNix, environ: dict[str, str]) -> None:
    directory = StoreDir(environ["NIX_STORE_DIR"])
    text = directory.make_text_path("a-text", hash_bytes("sha256", b"some text"))
    expression = 'builtins.toFile "a-text" "some text"'
    printed = real_nix.line("nix-instantiate", "--eval", "-E", expression).strip('"')
    assert directory.print(text) == printed
