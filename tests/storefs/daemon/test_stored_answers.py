"""Answers from rows are the answers that values would have given, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from storefs.daemon import stored_answers
from storefs.daemon.stored_answers import StoredAnswers
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import BadStorePath, StorePath
from storefs.metadata.records import CorruptRecordError, path_key
from storefs.protocol.wire import Writer
from storefs.protocol.worker_values import write_path_info

if TYPE_CHECKING:
    from storefs.stores.local import LocalStore

HASH = "0123456789abcdfghijklmnpqrsvwxyz"


def path(number: int, name: str = "x") -> StorePath:
    return StorePath(f"{number:032d}-{name}")


def register(store: LocalStore, *infos: PathInfo) -> list[PathInfo]:
    with store.intake() as intake:
        tree = intake.add_bytes(b"x")
        whole = [info.replace(nar_hash=tree.nar_hash, nar_size=tree.nar_size) for info in infos]
        intake.register([(tree, info) for info in whole])
    return whole


@pytest.fixture
def infos(local_store: LocalStore) -> list[PathInfo]:
    from storefs.formats.hashes import Hash

    unknown = Hash("sha256", bytes(32))
    plain = PathInfo(path(5), unknown, 0)
    # Ids are given in the order of registration, which is not that of the names.
    top = PathInfo(
        path(2, "t" * 211),
        unknown,
        0,
        references=[path(5), path(2, "t" * 211), path(9), path(5, "y")],
        deriver=path(7, "t.drv"),
        signatures=["b:c2ln", "a:c2ln"],
        ca="text:sha256:1",
        registration_time=1700000000,
        ultimate=True,
    )
    return register(local_store, plain, PathInfo(path(9), unknown, 0), PathInfo(path(5, "y"), unknown, 0), top)


@pytest.mark.parametrize("version", [10, 15, 16, 37])
def test_a_path_info_is_the_one_that_values_give(
    local_store: LocalStore, infos: list[PathInfo], version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_answers, "_KEPT_NAMES", 2)  # what is kept is thrown away in between
    answers = StoredAnswers(local_store)
    directory = local_store.directory
    for info in infos * 2:
        writer = Writer()
        write_path_info(writer, local_store.path_info(info.path), version, directory)
        assert answers.path_info(answers.key(directory.print(info.path).encode()), version) == writer.take()


def test_signatures_that_come_later_are_seen(local_store: LocalStore, infos: list[PathInfo]) -> None:
    answers = StoredAnswers(local_store)
    key = path_key(infos[0].path)
    before = answers.path_info(key, 37)
    local_store.add_signatures(infos[0].path, ["k:c2ln"])
    assert answers.path_info(key, 37) != before


def test_what_is_not_valid_has_no_answer(local_store: LocalStore, infos: list[PathInfo]) -> None:
    answers = StoredAnswers(local_store)
    unknown = path_key(path(5, "z"))
    assert answers.path_info(unknown, 37) is None
    assert not answers.is_valid(unknown)
    assert answers.is_valid(path_key(infos[0].path))


def test_valid_paths_come_sorted_and_once_in_their_usual_spelling(
    local_store: LocalStore, infos: list[PathInfo]
) -> None:
    answers = StoredAnswers(local_store)
    directory = local_store.directory.path
    asked = [f"{directory}/{each.base_name}".encode() for each in (path(9), path(5), path(1), path(9))]
    asked.append(f"{directory}//{path(5, 'y').base_name}".encode())
    assert answers.valid(answers.paths(asked)) == [
        f"{directory}/{each.base_name}".encode() for each in (path(5), path(5, "y"), path(9))
    ]


@pytest.mark.parametrize(
    "name",
    [
        "",
        HASH,
        HASH + "-",
        HASH + "x",
        HASH + "-a/b",
        HASH + "-a b",
        HASH + "-" + "n" * 212,
        HASH.upper() + "-n",
        "_" * 32 + "-n",
        "+" + HASH[1:] + "-n",
        "é" * 16 + "-n",
        "e" * 32 + "-n",
        HASH + "-\xff",
        HASH + "-n\0",
    ],
)
def test_what_is_no_store_path_is_refused(local_store: LocalStore, name: str) -> None:
    answers = StoredAnswers(local_store)
    for text in (f"{local_store.directory.path}/{name}", f"/elsewhere/{name}", name):
        with pytest.raises(BadStorePath):
            answers.key(text.encode("utf-8"))


def test_a_damaged_row_is_an_error(local_store: LocalStore, infos: list[PathInfo]) -> None:
    key = path_key(infos[0].path)
    env = local_store.environment
    for row in (b"short", bytes(200)):
        env.update(lambda txn, row=row: txn.put(key, row, db=env.paths))
        with pytest.raises(CorruptRecordError):
            StoredAnswers(local_store).path_info(key, 37)
