"""What is believed of substituters about outputs, and what not."""

from __future__ import annotations

import pytest

from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import nar_of_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.realisation import DrvOutput, Realisation
from storefs.formats.signatures import SecretKey
from storefs.formats.store_path import StoreDir, StorePath
from storefs.stores.copying import Trust
from storefs.stores.memory import MemoryStore
from storefs.stores.realisation_query import find_realisations
from storefs.stores.store_source import StoreSource

DIRECTORY = StoreDir("/nix/store")
ROOT, TOP = (DrvOutput(hash_bytes("sha256", name), "out") for name in (b"root", b"top"))
EVERYBODY = Trust(DIRECTORY, [], False)


def add(store: MemoryStore, content: bytes) -> StorePath:
    nar = nar_of_bytes(content)
    digest = hash_bytes("sha256", nar)
    path = DIRECTORY.make_fixed_output_path(True, digest, "x")
    with store.intake() as intake:
        intake.register([(intake.add_nar([nar]), PathInfo(path, digest, len(nar)))])
    return path


def remote(*realisations: tuple[DrvOutput, bytes, dict[DrvOutput, bytes]], key: SecretKey | None = None) -> StoreSource:
    """A store whose outputs have these contents, and rest on outputs with those."""
    store = MemoryStore(DIRECTORY)
    for output, content, needs in realisations:
        dependencies = {each: add(store, needed) for each, needed in needs.items()}
        made = Realisation(output, add(store, content), (), dependencies)
        store.register_realisations([made.signed([key]) if key else made])
    return StoreSource(store, f"store of {len(realisations)}")


def test_what_it_rests_on_comes_first() -> None:
    source = remote((ROOT, b"root", {}), (TOP, b"top", {ROOT: b"root"}))
    store = MemoryStore(DIRECTORY)
    assert [each.id for each in find_realisations(store, [source], EVERYBODY, TOP)] == [ROOT, TOP]
    assert find_realisations(store, [source], EVERYBODY, DrvOutput(TOP.drv_hash, "dev")) == []
    store.register_realisations([Realisation(ROOT, add(store, b"root"))])
    assert [each.id for each in find_realisations(store, [source], EVERYBODY, TOP)] == [TOP]


def test_what_several_rest_on_comes_before_all_of_them() -> None:
    middle = DrvOutput(hash_bytes("sha256", b"middle"), "out")
    for needs in ({ROOT: b"root", middle: b"middle"}, {middle: b"middle", ROOT: b"root"}):
        source = remote((ROOT, b"root", {}), (middle, b"middle", {ROOT: b"root"}), (TOP, b"top", needs))
        found = find_realisations(MemoryStore(DIRECTORY), [source], EVERYBODY, TOP)
        assert [each.id for each in found] == [ROOT, middle, TOP]


@pytest.mark.usefixtures("expects_warnings")
def test_what_contradicts_the_store_is_left_to_the_next() -> None:
    store = MemoryStore(DIRECTORY)
    store.register_realisations([Realisation(ROOT, add(store, b"ours"))])
    other = remote((ROOT, b"root", {}), (TOP, b"top", {ROOT: b"root"}))
    assert find_realisations(store, [other], EVERYBODY, TOP) == []
    agreeing = remote((TOP, b"our top", {ROOT: b"ours"}))
    (found,) = find_realisations(store, [other, agreeing], EVERYBODY, TOP)
    assert found.dependencies == {ROOT: add(store, b"ours")}


def test_what_lacks_something_it_rests_on_is_worth_nothing() -> None:
    incomplete = remote((TOP, b"top", {ROOT: b"root"}))
    store = MemoryStore(DIRECTORY)
    assert find_realisations(store, [incomplete], EVERYBODY, TOP) == []
    # Another substituter may have it, but only the same.
    assert find_realisations(store, [incomplete, remote((ROOT, b"another", {}))], EVERYBODY, TOP) == []
    found = find_realisations(store, [incomplete, remote((ROOT, b"root", {}))], EVERYBODY, TOP)
    assert [each.id for each in found] == [ROOT, TOP]


@pytest.mark.usefixtures("expects_warnings")
def test_without_a_trusted_signature_nothing_is_believed() -> None:
    key, stranger = SecretKey.generate("mine"), SecretKey.generate("other")
    trust = Trust(DIRECTORY, [key.public_key()], True)
    store = MemoryStore(DIRECTORY)
    for unsigned in (remote((ROOT, b"root", {})), remote((ROOT, b"root", {}), key=stranger)):
        assert find_realisations(store, [unsigned], trust, ROOT) == []
    (found,) = find_realisations(store, [remote((ROOT, b"root", {}), key=key)], trust, ROOT)
    assert found.id == ROOT
