from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storefs.errors import StoreError
from storefs.formats.byte_reader import ByteReader, UnexpectedEndError
from storefs.formats.export import BadExportError, ChangedPathError, read_export, write_export
from storefs.formats.hashes import Hash, hash_bytes
from storefs.formats.nar import nar_of_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StoreDir, StorePath
from tests.oracle.real_nix import RealNix, needs_real_nix

STORE = StoreDir("/nix/store")
A, B, DRV = StorePath("a" * 32 + "-a"), StorePath("b" * 32 + "-b"), StorePath("c" * 32 + "-c.drv")
INFOS = [
    PathInfo(A, Hash("sha256", bytes(32)), 1),
    PathInfo(B, Hash("sha256", bytes(32)), 1, [A, B], DRV),
]


def join(chunks: Iterator[bytes]) -> bytes:
    return b"".join(chunks)


def export(infos: list[PathInfo], store: StoreDir = STORE) -> bytes:
    return b"".join(write_export(infos, lambda info: [nar_of_bytes(info.path.name.encode())], store))


def test_round_trip() -> None:
    reader = ByteReader([export(INFOS), b"next"])
    (nar_a, a), (nar_b, b) = read_export(reader, STORE, join)
    assert (nar_a, nar_b) == (nar_of_bytes(b"a"), nar_of_bytes(b"b"))
    assert (a.path, a.references, a.deriver) == (A, [], None)
    assert (b.path, b.references, b.deriver) == (B, [A, B], DRV)
    assert reader.exact(4) == b"next"


def test_a_path_that_has_changed_is_refused() -> None:
    info = PathInfo(A, hash_bytes("sha256", nar_of_bytes(b"a")), 1)
    assert b"".join(write_export([info], lambda _: [nar_of_bytes(b"a")], STORE))
    with pytest.raises(
        ChangedPathError, match=f"hash of path '/nix/store/{A}' has changed from 'sha256:.*' to 'sha256:"
    ):
        list(write_export([info], lambda _: [nar_of_bytes(b"b")], STORE))


def test_every_truncation_is_an_early_end() -> None:
    data = export(INFOS)
    for length in range(0, len(data), 3):
        with pytest.raises(UnexpectedEndError):
            list(read_export(ByteReader([data[:length]]), STORE, join))


def test_legacy_signature_is_skipped() -> None:
    data = (
        export(INFOS[:1])[:-16] + (1).to_bytes(8, "little") + (3).to_bytes(8, "little") + b"sig" + bytes(5) + bytes(8)
    )
    ((_, found),) = read_export(ByteReader([data]), STORE, join)
    assert found.path == A


@pytest.mark.parametrize("data", [b"\2" + bytes(7), b"garbage!", b"\1" + bytes(7) + b"x" * 500])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(StoreError):
        list(read_export(ByteReader([data]), STORE, join))


def test_path_of_another_store_is_refused() -> None:
    with pytest.raises(StoreError, match="not in the Nix store"):
        list(read_export(ByteReader([export(INFOS, StoreDir("/x"))]), STORE, join))


def test_absurd_counts_are_refused_before_anything_is_allocated() -> None:
    data = bytearray(export(INFOS))
    at = data.index(STORE.print(A).encode()) + len(STORE.print(A)) + (-len(STORE.print(A)) & 7)
    data[at : at + 8] = b"\xff" * 8
    with pytest.raises(BadExportError, match="references"):
        list(read_export(ByteReader([bytes(data)]), STORE, join))


@given(st.integers(0, len(export(INFOS)) - 1), st.binary(min_size=1, max_size=9))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_damage_raises_only_store_errors(at: int, garbage: bytes) -> None:
    data = bytearray(export(INFOS))
    data[at : at + len(garbage)] = garbage
    try:
        list(read_export(ByteReader([bytes(data)]), STORE, join))
    except StoreError:
        pass


@needs_real_nix
@pytest.mark.oracle
@pytest.mark.slow
def test_real_exports_are_read_and_written_byte_for_byte(tmp_path: Path) -> None:
    nix = RealNix(tmp_path)
    store = StoreDir(nix.store_dir)
    drv = nix.line(
        "nix-instantiate", "-E", 'derivation { name = "d"; system = "x"; builder = "/b"; p = builtins.toFile "t" "s"; }'
    )
    closure = nix.run("nix-store", "-qR", drv).decode().split()
    data = nix.run("nix-store", "--export", *closure)
    found = list(read_export(ByteReader([data]), store, join))
    nars = {each.path: nar for nar, each in found}
    assert sorted(map(store.print, nars)) == sorted(closure)
    infos = [
        PathInfo(each.path, hash_bytes("sha256", nar), len(nar), each.references, each.deriver) for nar, each in found
    ]
    again = b"".join(write_export(infos, lambda info: [nars[info.path]], store))
    assert again == data
    nix.run("nix-store", "--delete", *closure)
    assert nix.run("nix-store", "--import", stdin=again).decode().split() == [store.print(i.path) for i in infos]
