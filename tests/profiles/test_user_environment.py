"""User environments in a real store: valid at once, with the right references, the same path as real Nix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from profiles.buildenv import ConflictError
from profiles.elements import Element, parse_manifest
from profiles.store_reader import StoreReader
from profiles.user_environment import MissingOutputError, add_user_environment
from storefs.formats.path_info import PathInfo
from storefs.stores.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.config import Config
    from storefs.formats.store_path import StorePath
    from tests.oracle.real_nix import RealNix


@pytest.fixture
def store(config: Config) -> Iterator[LocalStore]:
    with LocalStore(config) as opened:
        yield opened


def add(store: LocalStore, folder: Path, name: str, files: dict[str, str]) -> Element:
    """Put a package into the store, content-addressed; a value that begins with '->' makes a link."""
    source = folder / name
    for each, content in files.items():
        path = source / each
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("->"):
            path.symlink_to(content[2:])
        else:
            path.write_text(content)
    with store.intake() as intake:
        tree = intake.add_tree(str(source))
        path = store.directory.make_fixed_output_path(True, tree.nar_hash, name)
        ca = "fixed:r:" + tree.nar_hash.to_string("base32", True)
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size, ca=ca))])
    return Element(name, store.directory.print(path))


def build(store: LocalStore, *elements: Element) -> StorePath:
    warnings: list[str] = []
    path = add_user_environment(store, list(elements), StoreReader(store), warnings.append)
    assert warnings == []
    return path


def test_environment_is_valid_and_refers_to_what_it_links_to(store: LocalStore, scratch: Path) -> None:
    a = add(store, scratch, "a-1.0", {"bin/a": "a", "lib": "->lib64", "lib64/la": "", "share/x/y": ""})
    b = add(store, scratch, "b-1.0", {"bin/b": "b", "lib/lb": ""})
    unused = add(store, scratch, "unused-1", {".hidden": ""})
    path = build(store, a, b, unused)
    info = store.path_info(path)
    names = sorted(reference.name for reference in info.references)
    assert names == ["a-1.0", "b-1.0", "env-manifest.nix"]
    assert info.deriver is not None
    assert store.derivation(info.deriver).outputs["out"].path == path
    manifest = next(reference for reference in info.references if reference.name == "env-manifest.nix")
    assert sorted(each.name for each in store.path_info(manifest).references) == ["a-1.0", "b-1.0", "unused-1"]

    reader = StoreReader(store)
    root = store.directory.print(path)
    assert sorted(reader.list_dir(root)) == ["bin", "lib", "lib64", "manifest.nix", "share"]
    assert reader.read_link(f"{root}/bin/a") == f"{a.out_path}/bin/a"
    assert reader.read_file(f"{root}/lib/la") == b""
    assert reader.read_link(f"{root}/share") == f"{a.out_path}/share"
    read = parse_manifest(reader.read_file(f"{root}/manifest.nix").decode())
    assert [element.name for element in read] == ["a-1.0", "b-1.0", "unused-1"]


def test_nothing_is_left_when_packages_conflict(store: LocalStore, scratch: Path) -> None:
    a = add(store, scratch, "a-1.0", {"bin/x": "1"})
    b = add(store, scratch, "b-1.0", {"bin/x": "2"})
    before = set(store.all_valid_paths())
    with pytest.raises(ConflictError):
        build(store, a, b)
    assert set(store.all_valid_paths()) == before


def test_output_that_is_gone_is_named(store: LocalStore) -> None:
    gone = f"{store.directory.path}/{'0' * 32}-gone-1"
    with pytest.raises(MissingOutputError, match="gone-1"):
        build(store, Element("gone-1", gone))


def test_empty_environment(store: LocalStore) -> None:
    path = build(store)
    assert StoreReader(store).list_dir(store.directory.print(path)) == {"manifest.nix": "symlink"}


def test_reader_crosses_between_the_store_and_the_machine(store: LocalStore, scratch: Path) -> None:
    (scratch / "outside").write_text("out")
    a = add(store, scratch, "a-1.0", {"link": f"->{scratch}/outside", "dir/f": "in", "loop": "->loop"})
    (scratch / "profile").symlink_to(a.out_path)
    reader = StoreReader(store)
    assert reader.read_file(f"{scratch}/profile/link") == b"out"
    assert reader.read_file(f"{scratch}/profile/dir/f") == b"in"
    assert reader.list_dir(f"{scratch}/profile/dir") == {"f": "regular"}
    assert reader.file_type(f"{a.out_path}/none") is None
    for path in (f"{a.out_path}/none", f"{a.out_path}/loop", f"{a.out_path}/dir"):
        with pytest.raises(OSError, match=r"No such file|too many symbolic links|Is a directory"):
            reader.read_file(path)
    with pytest.raises(NotADirectoryError):
        reader.list_dir(f"{a.out_path}/dir/f")


@pytest.mark.oracle
@pytest.mark.slow
def test_same_path_and_bytes_as_real_nix_env(store: LocalStore, scratch: Path, real_nix: RealNix) -> None:
    a = add(store, scratch, "a-1.0", {"bin/a": "a", "lib": "->lib64", "lib64/la": "", "share/x/y": ""})
    b = add(store, scratch, "b-1.0", {"bin/b": "b", "lib/lb": ""})
    ours = store.directory.print(build(store, a, b))
    for name in ("a-1.0", "b-1.0"):
        real_nix.run("nix-store", "--add", str(scratch / name))
    profile = f"{scratch}/real-profile"
    real_nix.run("nix-env", "-p", profile, "-i", a.out_path, b.out_path)
    assert os.readlink(f"{profile}-1-link") == ours
    info = store.path_info(store.directory.parse(ours))
    assert real_nix.line("nix-store", "-q", "--hash", ours) == info.nar_hash.to_string("base32", True)
    references = real_nix.run("nix-store", "-q", "--references", ours).decode().split()
    assert sorted(references) == [store.directory.print(reference) for reference in info.references]
