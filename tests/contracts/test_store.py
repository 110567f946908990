"""What every `storefs.api.Store` does alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from storefs.api import Store
from storefs.castore.host_tree import HostTreeError
from storefs.config import Config
from storefs.errors import StoreError
from storefs.formats.derivation import Derivation, DerivationOutput
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import BadNarError, nar_of_bytes, write_nar
from storefs.formats.path_info import InvalidPathError, PathInfo
from storefs.formats.realisation import DrvOutput, Realisation
from storefs.formats.store_path import StoreDir, StorePath
from storefs.stores.local import LocalStore
from storefs.stores.memory import MemoryStore
from storefs.stores.mismatch import HashMismatchError
from tests.nar_trees import Tree, events_of, trees


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, config: Config) -> Iterator[Store]:
    if request.param == "memory":
        with MemoryStore(StoreDir(config.store_dir)) as store:
            yield store
    else:
        with LocalStore(config, map_size=1 << 20, inline_limit=64) as local:
            yield local


def add(store: Store, name: str, content: bytes, references: tuple[StorePath, ...] = ()) -> PathInfo:
    nar = nar_of_bytes(content)
    digest = hash_bytes("sha256", nar)
    path = store.directory.make_fixed_output_path(True, digest, name, references)
    info = PathInfo(path, digest, len(nar), references)
    with store.intake() as intake:
        intake.register([(intake.add_nar([nar]), info)])
    return store.path_info(path)


def nar(store: Store, path: StorePath) -> bytes:
    return b"".join(store.nar(path))


def test_an_empty_store_knows_nothing(store: Store) -> None:
    path = StorePath("0" * 32 + "-x")
    assert not store.is_valid(path)
    assert store.find_path_info(path) is None
    assert list(store.all_valid_paths()) == []
    assert store.from_hash_part("0" * 32) is None
    assert store.valid_derivers(path) == []
    for ask in (store.path_info, store.referrers, lambda path: list(store.nar(path)), store.derivation):
        with pytest.raises(InvalidPathError, match="is not valid"):
            ask(path)


def test_what_is_registered_is_known(store: Store) -> None:
    first = add(store, "first", b"one")
    second = add(store, "second", b"two", (first.path,))
    assert first.registration_time > 0
    assert second.references == (first.path,)
    assert store.referrers(first.path) == [second.path]
    assert store.referrers(second.path) == []
    assert store.is_valid(first.path)
    other = StorePath("0" * 32 + "-x")
    assert store.valid_paths([first.path, other]) == {first.path}
    assert set(store.all_valid_paths()) == {first.path, second.path}
    assert nar(store, first.path) == nar_of_bytes(b"one")


def test_the_hash_part_is_enough(store: Store) -> None:
    info = add(store, "x", b"x")
    assert store.from_hash_part(info.path.hash_part) == info.path
    # the same hash part under another name is not valid
    assert not store.is_valid(StorePath(info.path.hash_part + "-y"))
    assert store.find_path_info(StorePath(info.path.hash_part + "-y")) is None
    with pytest.raises(StoreError, match="invalid hash part"):
        store.from_hash_part("abc")


def test_every_field_is_kept(store: Store) -> None:
    data = nar_of_bytes(b"x")
    digest = hash_bytes("sha256", data)
    path = StorePath("0" * 32 + "-x")
    info = PathInfo(
        path, digest, len(data), [path], StorePath("1" * 32 + "-d.drv"), ["k:a", "b:c"], "", 1234567890, True
    )
    with store.intake() as intake:
        intake.register([(intake.add_bytes(b"x"), info)])
    assert store.path_info(path) == info
    assert store.referrers(path) == [path]


def test_paths_of_one_registration_may_refer_to_each_other(store: Store) -> None:
    with store.intake() as intake:
        trees = [intake.add_bytes(content) for content in (b"a", b"b")]
        paths = [StorePath(digit * 32 + "-x") for digit in "01"]
        infos = [PathInfo(paths[0], trees[0].nar_hash, trees[0].nar_size, [paths[1]])]
        infos.append(PathInfo(paths[1], trees[1].nar_hash, trees[1].nar_size))
        intake.register(list(zip(trees, infos, strict=True)))
    assert store.referrers(paths[1]) == [paths[0]]


def test_all_or_nothing(store: Store) -> None:
    good, missing = StorePath("0" * 32 + "-good"), StorePath("1" * 32 + "-missing")
    with store.intake() as intake:
        tree = intake.add_bytes(b"x")
        bad = PathInfo(StorePath("2" * 32 + "-bad"), tree.nar_hash, tree.nar_size, [missing])
        with pytest.raises(InvalidPathError, match="1-missing"):
            intake.register([(tree, PathInfo(good, tree.nar_hash, tree.nar_size)), (tree, bad)])
    assert list(store.all_valid_paths()) == []


def test_a_wrong_hash_is_refused(store: Store) -> None:
    path = StorePath("0" * 32 + "-x")
    with store.intake() as intake:
        tree = intake.add_bytes(b"x")
        with pytest.raises(HashMismatchError, match="specified"):
            intake.register([(tree, PathInfo(path, hash_bytes("sha256", b"other"), tree.nar_size))])
    assert not store.is_valid(path)


def test_leaving_without_registering_leaves_nothing(store: Store) -> None:
    with store.intake() as intake:
        intake.add_bytes(b"x" * 1000)
    assert list(store.all_valid_paths()) == []


def test_a_valid_path_is_left_as_it_is_unless_replaced(store: Store) -> None:
    path = StorePath("0" * 32 + "-x")
    for content, replace, expected in ((b"one", False, b"one"), (b"two", False, b"one"), (b"two", True, b"two")):
        with store.intake() as intake:
            tree = intake.add_bytes(content)
            intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size))], replace=replace)
        assert nar(store, path) == nar_of_bytes(expected)
        assert store.path_info(path).nar_hash == hash_bytes("sha256", nar_of_bytes(expected))


def test_adding_text_is_idempotent(store: Store) -> None:
    other = add(store, "x", b"x").path
    path = store.add_text("some-text", b"content", [other])
    assert store.add_text("some-text", b"content", [other]) == path
    info = store.path_info(path)
    assert info.ca == "text:" + hash_bytes("sha256", b"content").to_string("base32", True)
    assert info.references == (other,)
    assert path == store.directory.make_text_path("some-text", hash_bytes("sha256", b"content"), [other])


def test_derivations_know_their_outputs(store: Store) -> None:
    source = store.add_text("builder.sh", b"")
    derivation = Derivation("thing", {"out": DerivationOutput(None)}, {}, {source}, "x", "/bin/sh", [], {})
    fixed = hash_bytes("sha256", b"x")
    out = store.directory.make_fixed_output_path(False, fixed, "thing")
    derivation.outputs["out"] = DerivationOutput(out, "sha256", fixed.to_string("base16", False))
    derivation.env["out"] = store.directory.print(out)
    drv = store.add_text("thing.drv", derivation.unparse(store.directory), [source])
    assert store.derivation(drv).outputs["out"].path == out
    assert store.valid_derivers(out) == [drv]


def test_unparsable_derivations_are_refused(store: Store) -> None:
    with pytest.raises(StoreError):
        store.add_text("bad.drv", b"Derive(nonsense")
    assert list(store.all_valid_paths()) == []


def test_host_trees_become_canonical(store: Store, scratch: Path) -> None:
    top = scratch / "tree"
    (top / "sub").mkdir(parents=True)
    (top / "run").write_bytes(b"x" * 100)
    (top / "run").chmod(0o4711)
    (top / "plain").write_bytes(b"x" * 100)
    (top / "plain").chmod(0o600)
    (top / "sub" / "link").symlink_to("nowhere")
    os.utime(top / "plain", (5, 5))
    seen: list[bytes] = []
    with store.intake() as intake:
        tree = intake.add_tree(str(top), nar_sink=lambda piece: seen.append(bytes(piece)))
        path = store.directory.make_fixed_output_path(True, tree.nar_hash, "tree")
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size))])
    expected = {b"plain": b"x" * 100, b"run": (b"x" * 100,), b"sub": {b"link": "nowhere"}}
    assert nar(store, path) == b"".join(write_nar(events_of(expected)))  # type: ignore[arg-type]
    assert b"".join(seen) == nar(store, path)


def test_filters_choose_entries(store: Store, scratch: Path) -> None:
    top = scratch / "tree"
    (top / "sub").mkdir(parents=True)
    for name in ("keep", "drop", "sub/keep"):
        (top / name).write_bytes(b"")
    os.mkfifo(top / "fifo")
    asked = []

    def keep(path: bytes, kind: str) -> bool:
        asked.append((os.path.relpath(path, os.fsencode(top)), kind))
        return not path.endswith((b"drop", b"fifo"))

    with store.intake() as intake:
        tree = intake.add_tree(str(top), keep=keep)
        path = StorePath("0" * 32 + "-x")
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size))])
    assert nar(store, path) == b"".join(write_nar(events_of({b"keep": b"", b"sub": {b"keep": b""}})))
    assert sorted(asked) == [
        (b"drop", "regular"),
        (b"fifo", "unknown"),
        (b"keep", "regular"),
        (b"sub", "directory"),
        (b"sub/keep", "regular"),
    ]


def test_what_no_store_can_hold_is_refused(store: Store, scratch: Path) -> None:
    os.mkfifo(scratch / "fifo")
    (scratch / "dir").mkdir()
    os.mkfifo(scratch / "dir" / "fifo")
    with store.intake() as intake:
        for source in ("fifo", "dir"):
            with pytest.raises(HostTreeError, match="fifo' has an unsupported type"):
                intake.add_tree(f"{scratch}/{source}")
        with pytest.raises(HostTreeError, match="cannot read"):
            intake.add_tree(f"{scratch}/nowhere")


def test_bad_archives_are_refused(store: Store) -> None:
    data = nar_of_bytes(b"x" * 1000)
    with store.intake() as intake:
        for bad in (b"", data[:-1], data + b"x", b"\0" + data, data[:500]):
            with pytest.raises((BadNarError, StoreError)):
                intake.add_nar([bad])
        seen: list[bytes] = []
        tree = intake.add_nar([data], nar_sink=lambda piece: seen.append(bytes(piece)))
        assert b"".join(seen) == data
        path = StorePath("0" * 32 + "-x")
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size))])
    assert nar(store, path) == data


def test_trees_of_another_store_are_refused(store: Store, config: Config) -> None:
    with MemoryStore(StoreDir(config.store_dir)).intake() as other:
        foreign: object = other.add_bytes(b"x")
    if isinstance(store, MemoryStore):
        foreign = object()
    with store.intake() as intake, pytest.raises(TypeError):
        info = PathInfo(StorePath("0" * 32 + "-x"), hash_bytes("sha256", b""), 1)
        intake.register([(foreign, info)])  # type: ignore[list-item]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees())
def test_any_tree_comes_back_as_it_went_in(store: Store, tree: Tree) -> None:
    data = b"".join(write_nar(events_of(tree)))
    digest = hash_bytes("sha256", data)
    path = store.directory.make_fixed_output_path(True, digest, "x")
    with store.intake() as intake:
        intake.register([(intake.add_nar([data]), PathInfo(path, digest, len(data)))])
    assert nar(store, path) == data


def test_what_outputs_are_is_kept_with_valid_paths(store: Store) -> None:
    output = DrvOutput(hash_bytes("sha256", b"drv"), "out")
    assert store.realisation(output) is None
    with pytest.raises(StoreError, match="is not valid"):
        store.register_realisations([Realisation(output, StorePath("0" * 32 + "-x"))])
    path, other = add(store, "x", b"x").path, add(store, "y", b"y").path
    store.register_realisations([Realisation(output, path, ["a:AA=="])])
    store.register_realisations([Realisation(output, path, ["b:AA=="])])
    assert store.realisation(output) == Realisation(output, path, ["a:AA==", "b:AA=="])
    with pytest.raises(StoreError, match="already"):
        store.register_realisations([Realisation(output, other)])
