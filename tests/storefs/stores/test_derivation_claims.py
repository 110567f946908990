"""No way into the store lets a derivation claim outputs that are not its own (rows Y1 and Y3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from storefs.errors import StoreError
from storefs.formats.derivation import Derivation, DerivationOutput
from storefs.formats.derivation_hash import DerivationHasher
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import nar_of_bytes
from storefs.formats.path_info import PathInfo
from storefs.stores.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.config import Config
    from storefs.formats.store_path import StorePath


@pytest.fixture
def store(config: Config) -> Iterator[LocalStore]:
    with LocalStore(config) as store:
        yield store


def honest(store: LocalStore, name: str = "good") -> Derivation:
    derivation = Derivation(name, {"out": DerivationOutput(None)}, {}, set(), "x86_64-linux", "/bin/sh", [], {})
    derivation.env = {"name": name, "out": ""}
    masked = DerivationHasher(store.directory, store.derivation).modulo(derivation, mask_outputs=True)
    path = store.directory.make_output_path("out", masked.hash, name)
    derivation.outputs["out"] = DerivationOutput(path)
    derivation.env["out"] = store.directory.print(path)
    return derivation


def add(store: LocalStore, derivation: Derivation, name: str) -> StorePath:
    return store.add_text(f"{name}.drv", derivation.unparse(store.directory))


def test_an_honest_derivation_is_accepted(store: LocalStore) -> None:
    assert store.is_valid(add(store, honest(store), "good"))


def test_another_name_would_change_what_it_may_claim(store: LocalStore) -> None:
    with pytest.raises(StoreError, match=r"has incorrect output .*, should be"):
        add(store, honest(store), "evil")
    assert not list(store.all_valid_paths())


def test_a_foreign_output_path_is_refused(store: LocalStore) -> None:
    derivation, other = honest(store, "evil"), honest(store)
    derivation.outputs["out"] = other.outputs["out"]
    derivation.env["out"] = other.env["out"]
    with pytest.raises(StoreError, match="has incorrect output"):
        add(store, derivation, "evil")
    assert not list(store.all_valid_paths())


def test_an_environment_that_disagrees_is_refused(store: LocalStore) -> None:
    derivation = honest(store)
    derivation.env["out"] = honest(store, "other").env["out"]
    with pytest.raises(StoreError, match="has incorrect"):
        add(store, derivation, "good")


def test_a_fixed_output_with_another_path_is_refused(store: LocalStore) -> None:
    derivation = honest(store)
    derivation.outputs["out"] = DerivationOutput(derivation.outputs["out"].path, "sha256", "ab" * 32)
    with pytest.raises(StoreError, match="has incorrect output"):
        add(store, derivation, "good")


@pytest.mark.parametrize("text", ["x", "zz" * 32, "AB" * 32, "ab" * 31, "ab " * 32, "ab" * 20, "\udcff"])
def test_a_fixed_output_without_a_proper_hash_is_refused(store: LocalStore, text: str) -> None:
    derivation = honest(store)
    derivation.outputs["out"] = DerivationOutput(derivation.outputs["out"].path, "sha256", text)
    with pytest.raises(StoreError, match="hash"):
        add(store, derivation, "good")


@pytest.mark.parametrize("name", ["a/../b", "a\0b", 'a"b', "x" * 212])
def test_an_output_whose_path_is_not_known_yet_has_a_proper_name(store: LocalStore, name: str) -> None:
    output = DerivationOutput(None, "r:sha256")
    good, bad = (Derivation("d", {each: output}, {}, set(), "system", "/bin/sh", [], {}) for each in ("dev", name))
    add(store, good, "d")
    # Names of outputs are not escaped in a derivation: one with a quote can't be read again.
    with pytest.raises(StoreError, match="unterminated string" if '"' in name else "illegal character|longer than"):
        add(store, bad, "d")


def test_the_same_holds_for_archives(store: LocalStore) -> None:
    text = honest(store).unparse(store.directory)
    path = store.directory.make_text_path("evil.drv", hash_bytes("sha256", text))
    with store.intake() as intake:
        tree = intake.add_nar([nar_of_bytes(text)])
        with pytest.raises(StoreError, match="has incorrect output"):
            intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size))])
    assert not store.is_valid(path)


@pytest.mark.parametrize("content", [b"", b"Derive(", b'Derive([],[],[],"","",[],[])x', b"\xff" * 100])
def test_what_is_no_derivation_is_refused_under_that_name(store: LocalStore, content: bytes) -> None:
    with pytest.raises(StoreError):
        store.add_text("x.drv", content)
    assert store.is_valid(store.add_text("x.txt", content))


def test_what_is_no_derivation_is_named(store: LocalStore) -> None:
    text = honest(store).unparse(store.directory).replace(b"x86_64-linux", b'a"b')
    with pytest.raises(StoreError, match=r"^error parsing derivation '/.*-good\.drv': "):
        store.add_text("good.drv", text)
    assert not list(store.all_valid_paths())
