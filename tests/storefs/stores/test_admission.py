"""Paths that somebody else sends, many at once: one commit for several, and a bad one spoils nothing before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storefs.config import Config
from storefs.errors import StoreError
from storefs.formats.content_address import RECURSIVE, ContentAddress
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import nar_of_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.stores import admission
from storefs.stores.admission import UntrustedPathError, admit_nars
from storefs.stores.local import LocalStore
from tests.store_invariants import check_invariants

Addition = tuple[PathInfo, list[bytes]]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_GROUP_PATHS", 4)
    monkeypatch.setattr(admission, "_GROUP_BYTES", 3000)


def addition(number: int, references: list[int] | None = None, *, size: int = 100) -> Addition:
    nar = nar_of_bytes(bytes([number]) * size)
    paths = [path(each) for each in references or []]
    return PathInfo(path(number), hash_bytes("sha256", nar), len(nar), paths), [nar]


def path(number: int) -> StorePath:
    return StorePath(f"{number:032d}-p")


def admit(
    store: LocalStore, config: Config, additions: list[Addition], *, repair: bool = False, check: bool = False
) -> None:
    admit_nars(store, config, additions, repair=repair, check_signatures=check)


def valid(store: LocalStore) -> list[int]:
    return [int(each.hash_part) for each in store.all_valid_paths()]


def test_many_become_valid_with_few_commits(local_store: LocalStore, config: Config) -> None:
    before = local_store.environment.update(lambda txn: txn.id())
    admit(local_store, config, [addition(number, [number - 1] if number else []) for number in range(20)])
    assert sorted(valid(local_store)) == list(range(20))
    assert local_store.environment.update(lambda txn: txn.id()) - before <= 7
    check_invariants(local_store)


def test_large_ones_are_committed_sooner(local_store: LocalStore, config: Config) -> None:
    seen: list[int] = []

    def stream() -> Iterator[Addition]:
        for number in range(4):
            seen.append(len(valid(local_store)))
            yield addition(number, size=2000)

    admit_nars(local_store, config, stream(), repair=False, check_signatures=False)
    assert seen == [0, 0, 2, 2]


@pytest.mark.parametrize("at", [0, 2, 3, 5])
@pytest.mark.parametrize("what", ["hash", "reference", "no nar", "more than a nar"])
def test_a_bad_one_spoils_nothing_before_it(local_store: LocalStore, config: Config, at: int, what: str) -> None:
    additions = [addition(number) for number in range(8)]
    info, nar = additions[at]
    if what == "hash":
        additions[at] = (info.replace(nar_hash=hash_bytes("sha256", b"")), nar)
    elif what == "reference":
        additions[at] = (info.replace(references=[path(99)]), nar)
    elif what == "no nar":
        additions[at] = (info, [nar[0][:50]])
    else:
        additions[at] = (info, [*nar, b"x"])
    with pytest.raises(StoreError):
        admit(local_store, config, additions)
    # A reference that is missing is only known with the commit: what came after it in its group is given up, too.
    assert sorted(valid(local_store)) == list(range(at))
    check_invariants(local_store)
    admit(local_store, config, [addition(number) for number in range(8)])
    assert len(valid(local_store)) == 8


def test_what_is_there_or_comes_twice_is_read_and_left(local_store: LocalStore, config: Config) -> None:
    admit(local_store, config, [addition(1)])
    admit(local_store, config, [addition(1), addition(2), addition(2), addition(3)])
    assert sorted(valid(local_store)) == [1, 2, 3]


def test_strangers_need_a_signature_or_a_content_address(local_store: LocalStore, config: Config) -> None:
    info, nar = addition(1)
    address = ContentAddress(RECURSIVE, info.nar_hash)
    proven = info.replace(path=address.store_path(local_store.directory, "proven"), ca=str(address))
    with pytest.raises(UntrustedPathError, match="lacks a valid signature"):
        admit(local_store, config, [(proven, nar), (info, nar)], check=True)
    assert list(local_store.all_valid_paths()) == [proven.path]


def test_repair_replaces_each(local_store: LocalStore, config: Config) -> None:
    admit(local_store, config, [addition(1), addition(2)])
    nar = nar_of_bytes(b"other")
    other = PathInfo(path(2), hash_bytes("sha256", nar), len(nar))
    admit(local_store, config, [addition(1), (other, [nar])], repair=True)
    assert local_store.path_info(path(2)).nar_hash == other.nar_hash
    check_invariants(local_store)
