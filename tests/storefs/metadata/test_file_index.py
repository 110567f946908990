from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from storefs.metadata import file_index
from storefs.metadata.environment import Environment, open_environment
from storefs.metadata.file_index import fits, index_some
from storefs.metadata.schema import KEY, NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from storefs.metadata.environment import Transaction

_AT_ONCE = 10


@pytest.fixture
def env(scratch: Path) -> Iterator[Environment]:
    opened = open_environment(f"{scratch}/db", sync=False)
    yield opened
    opened.close()


def key(number: int) -> bytes:
    return (number * 7919 % 100_003).to_bytes(4, "big") * 8 + b"\0"


def left_out(env: Environment, numbers: range) -> dict[bytes, int]:
    """Have files with these numbers as inodes in the table, and return them."""

    def write(txn: Transaction) -> None:
        for number in numbers:
            txn.put(KEY.pack(number), key(number), db=env.unindexed)

    env.update(write)
    return {key(number): number for number in numbers}


def rows(env: Environment) -> tuple[dict[bytes, int], dict[int, bytes]]:
    with env.snapshot() as txn:
        index = {found: NUMBER.unpack(value)[0] for found, value in txn.cursor(env.files).iternext()}
        return index, {KEY.unpack(row)[0]: value for row, value in txn.cursor(env.unindexed).iternext()}


def test_a_small_index_is_told_of_all(env: Environment) -> None:
    files = left_out(env, range(5000))
    assert env.update(lambda txn: index_some(env, txn, files)) == sorted(files)
    assert rows(env) == (files, {})


def test_a_large_one_of_some_at_a_time(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    before = left_out(env, range(5000))
    env.update(lambda txn: index_some(env, txn, before))
    monkeypatch.setattr(file_index, "_PAGES", _AT_ONCE)
    files = left_out(env, range(5000, 5035))
    steps = []
    while len(steps) * _AT_ONCE < len(files):
        rest = {each: files[each] for each in sorted(files)[len(steps) * _AT_ONCE :]}
        with env.snapshot() as txn:
            assert fits(env, txn, len(rest)) == (len(rest) <= _AT_ONCE)
        steps.append(env.update(lambda txn, rest=rest: index_some(env, txn, rest)))
    assert [len(step) for step in steps] == [10, 10, 10, 5]
    assert [each for step in steps for each in step] == sorted(files)
    assert rows(env) == (before | files, {})


def test_who_has_what_the_index_knows_keeps_its_own(env: Environment) -> None:
    first = left_out(env, range(100))
    env.update(lambda txn: index_some(env, txn, first))
    second = {each: 1000 + number for each, number in first.items() if number < 50}
    env.update(lambda txn: [txn.put(KEY.pack(each), found, db=env.unindexed) for found, each in second.items()])
    other = left_out(env, range(200, 210))
    env.update(lambda txn: index_some(env, txn, second | other))
    assert rows(env) == (first | other, {inode: found for found, inode in second.items()})
