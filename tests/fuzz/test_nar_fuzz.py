"""Broken archives and exports: whatever comes, the readers say one clear thing, quickly, or read it right."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storefs.errors import StoreError
from storefs.formats.byte_reader import ByteReader
from storefs.formats.export import read_export, write_export
from storefs.formats.nar import nar_of_bytes, parse_nar, write_nar
from storefs.formats.path_info import PathInfo
from storefs.formats.registration import read_registrations, write_registration
from storefs.formats.store_path import StoreDir, StorePath
from storefs.stores.local import LocalStore
from storefs.stores.memory import MemoryStore
from storefs.stores.transfer import import_paths
from tests.nar_trees import events_of, trees
from tests.store_invariants import check_invariants

STORE = StoreDir("/nix/store")
_CHANGES = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4)


def changed(data: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    result = bytearray(data)
    for position, value in changes:
        result[position % len(result)] = value
    return bytes(result[: len(result) - cut % len(result)])


@given(tree=trees(), changes=_CHANGES, cut=st.integers(0, 50), piece=st.sampled_from([1, 7, 4096]))
def test_a_damaged_nar_is_refused_or_canonical(
    tree: object, changes: list[tuple[int, int]], cut: int, piece: int
) -> None:
    nar = changed(b"".join(write_nar(events_of(tree))), changes, cut)  # type: ignore[arg-type]
    reader = ByteReader([nar[at : at + piece] for at in range(0, len(nar), piece)])
    try:
        events = [bytes(event) if isinstance(event, memoryview) else event for event in parse_nar(reader)]
    except StoreError as error:
        assert len(str(error).splitlines()) == 1
        return
    # what is accepted is exactly what would be written: nothing can hide between two readings
    assert b"".join(write_nar(events)) == nar[: reader.consumed]


@given(data=st.binary(max_size=300))
def test_noise_is_no_nar(data: bytes) -> None:
    for prefix in (b"", nar_of_bytes(b"")[:40], nar_of_bytes(b"")[:72]):
        with pytest.raises(StoreError):
            list(parse_nar(ByteReader([prefix + b"\xff" + data])))


def archive() -> bytes:
    with MemoryStore(STORE) as store:
        first = store.add_text("first", b"one")
        second = store.add_text("second", b"two" * 50, [first])
        return b"".join(
            write_export([store.path_info(first), store.path_info(second)], lambda i: store.nar(i.path), STORE)
        )


@given(changes=_CHANGES, cut=st.integers(0, 600))
@example(changes=[(155, 10)], cut=0)  # a line end at the beginning of a hash part
@example(changes=[(144, 10)], cut=0)  # and in place of the path's first slash
def test_a_damaged_export_is_refused_or_consistent(changes: list[tuple[int, int]], cut: int) -> None:
    reader = ByteReader([changed(archive(), changes, cut)])
    try:
        for nar, exported in read_export(reader, STORE, b"".join):
            assert list(parse_nar(ByteReader([nar])))
            STORE.print(exported.path)
    except StoreError as error:
        assert len(str(error).splitlines()) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(changes=_CHANGES, cut=st.integers(0, 600))
def test_a_damaged_import_leaves_a_consistent_store(
    local_fuzz_store: LocalStore, changes: list[tuple[int, int]], cut: int
) -> None:
    data = archive().replace(b"/nix/store", local_fuzz_store.directory.path.encode()[:10].ljust(10, b"/"))
    try:
        list(import_paths(local_fuzz_store, [changed(data, changes, cut)]))
    except StoreError as error:
        assert "Traceback" not in str(error)
    check_invariants(local_fuzz_store)


@given(text=st.text(max_size=200), digits=st.integers(-5, 10**12))
def test_noise_is_no_registration(text: str, digits: int) -> None:
    with MemoryStore(STORE) as store:
        info: PathInfo = store.path_info(store.add_text("x", b"x"))
    good = write_registration(info, STORE)
    assert next(read_registrations(good.splitlines(), STORE, with_hashes=True)).path == info.path
    lines = [StorePath("0" * 32 + "-x").base_name, text, str(digits), *good.splitlines()]
    for start in range(len(lines)):
        try:
            list(read_registrations([*lines[start:], text], STORE, with_hashes=True))
        except StoreError:
            continue
