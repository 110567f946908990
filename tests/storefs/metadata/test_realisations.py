"""Realisations in the local store: what is refused, what goes with a path, and stores that had none."""

from __future__ import annotations

import lmdb
import pytest

from storefs.config import Config
from storefs.errors import StoreError
from storefs.formats.derivation import Derivation, DerivationOutput
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import nar_of_bytes
from storefs.formats.path_info import InvalidPathError, PathInfo
from storefs.formats.realisation import DrvOutput, Realisation
from storefs.formats.store_path import StorePath
from storefs.metadata.realisations import RealisationConflictError
from storefs.metadata.schema import LATER
from storefs.stores.local import LocalStore
from tests.store_invariants import check_invariants

FIRST, SECOND = (DrvOutput(hash_bytes("sha256", text), "out") for text in (b"first", b"second"))


def add(store: LocalStore, content: bytes, references: tuple[StorePath, ...] = ()) -> StorePath:
    nar = nar_of_bytes(content)
    digest = hash_bytes("sha256", nar)
    path = store.directory.make_fixed_output_path(True, digest, "x", references)
    with store.intake() as intake:
        intake.register([(intake.add_nar([nar]), PathInfo(path, digest, len(nar), references))])
    return path


def delete(store: LocalStore, path: StorePath) -> None:
    collector = store.collector()
    try:
        collector.delete([path])
    finally:
        collector.close()


def test_a_second_path_for_an_output_is_refused(config: Config) -> None:
    with LocalStore(config) as store:
        one, two = add(store, b"1"), add(store, b"2")
        store.register_realisations([Realisation(FIRST, one, ["a:AA=="])])
        with pytest.raises(RealisationConflictError, match="already have another one locally"):
            store.register_realisations([Realisation(FIRST, two)])
        store.register_realisations([Realisation(FIRST, one, ["b:AA=="])])
        assert store.realisation(FIRST) == Realisation(FIRST, one, ["a:AA==", "b:AA=="])
        check_invariants(store)


def test_dependencies_must_be_what_they_are_here(config: Config) -> None:
    with LocalStore(config) as store:
        one = add(store, b"1")
        two = add(store, b"2", (one,))
        with pytest.raises(StoreError, match="depends on the non existent"):
            store.register_realisations([Realisation(SECOND, two, (), {FIRST: one})])
        store.register_realisations([Realisation(FIRST, one), Realisation(SECOND, two, (), {FIRST: one})])
        with pytest.raises(RealisationConflictError, match="match what we have locally"):
            store.register_realisations([Realisation(DrvOutput(FIRST.drv_hash, "dev"), one, (), {FIRST: two})])
        found = store.realisation(SECOND)
        assert found is not None
        assert found.dependencies == {FIRST: one}


def test_what_outputs_rest_on_is_not_made_by_their_derivation(config: Config) -> None:
    with LocalStore(config) as store:
        one = add(store, b"1")
        two = add(store, b"2", (one,))
        builder = Derivation("x", {"out": DerivationOutput(None, "r:sha256")}, {}, set(), "system", "/bin/sh", [], {})
        drv_path = store.add_text("x.drv", builder.unparse(store.directory))
        store.register_realisations([Realisation(FIRST, one), Realisation(SECOND, two, (), {FIRST: one})], drv_path)
        assert store.valid_derivers(two) == [drv_path]
        assert store.valid_derivers(one) == []
        check_invariants(store)


def test_all_or_none_become_known(config: Config) -> None:
    with LocalStore(config) as store:
        one = add(store, b"1")
        with pytest.raises(InvalidPathError):
            store.register_realisations([Realisation(FIRST, one), Realisation(SECOND, StorePath("0" * 32 + "-x"))])
        assert store.realisation(FIRST) is None


def test_realisations_go_with_their_path(config: Config) -> None:
    with LocalStore(config) as store:
        one, two = add(store, b"1"), add(store, b"2")
        others = [DrvOutput(hash_bytes("sha256", bytes([n])), "out") for n in range(5)]
        store.register_realisations([Realisation(each, one) for each in others])
        store.register_realisations([Realisation(SECOND, two)])
        check_invariants(store)
        delete(store, one)
        assert all(store.realisation(each) is None for each in others)
        assert store.realisation(SECOND) is not None
        check_invariants(store)


def test_a_store_that_had_none_gets_the_tables_when_it_is_opened(config: Config) -> None:
    with LocalStore(config) as store:
        one = add(store, b"1")
    with lmdb.open(f"{config.verglas_dir}/db", max_dbs=20) as old, old.begin(write=True) as txn:
        for name in LATER:
            txn.drop(old.open_db(name.encode(), txn=txn))
    with LocalStore(config) as store:
        assert store.is_valid(one)
        store.register_realisations([Realisation(FIRST, one)])
        assert store.realisation(FIRST) == Realisation(FIRST, one)
