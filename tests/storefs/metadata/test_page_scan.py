"""Rows read from the pages of the database file: what LMDB's own cursor gives, and no crash whatever a page says."""

from __future__ import annotations

import os
import random
import tempfile
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefs.metadata import schema
from storefs.metadata.environment import DatabaseError, open_environment
from storefs.metadata.page_scan import Pages, open_pages
from storefs.metadata.schema import KEY, NODES, OUTPUTS
from tests.variants import VARIANTS, variant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from storefs.metadata.environment import Environment, Transaction

    Rows = list[tuple[bytes, bytes]]


@pytest.fixture
def env(scratch: Path) -> Iterator[Environment]:
    with closing(open_environment(f"{scratch}/db")) as env:
        yield env


@contextmanager
def pages_of(env: Environment, txn: Transaction) -> Iterator[Pages]:
    pages = open_pages(env, txn)
    assert pages is not None
    with pages:
        yield pages


def check_all_tables(env: Environment, txn: Transaction) -> None:
    with pages_of(env, txn) as pages:
        for name in schema.DATABASES:
            if name not in schema.SORTED_DUPLICATES:
                assert list(pages.rows(name)) == list(txn.cursor(getattr(env, name)).iternext()), name


def fill(env: Environment, rows: int, seed: int = 1) -> None:
    source = random.Random(seed)

    def work(txn: Transaction) -> None:
        for _ in range(rows):
            size = source.choice((0, 1, 121, 1000, 2020, 2040, 4079, 4080, 4081, 20_000))
            txn.put(KEY.pack(source.randrange(10**6)), source.randbytes(size), db=env.nodes)

    env.update(work)


@pytest.mark.parametrize("rows", [0, 1, 3, 100, 3000])
def test_every_row_is_there(env: Environment, rows: int) -> None:
    fill(env, rows)
    with env.snapshot() as txn:
        assert len(list(txn.cursor(env.nodes))) >= 0.9 * rows
        check_all_tables(env, txn)


def test_a_table_that_is_not_there_has_no_rows(env: Environment) -> None:
    with env.snapshot() as txn, pages_of(env, txn) as pages:
        assert list(pages.rows("no such table")) == []


def test_views_into_the_map_are_fine(env: Environment) -> None:
    fill(env, 100)
    with env.snapshot(buffers=True) as txn, pages_of(env, txn) as pages:
        assert list(pages.rows(NODES)) == [(bytes(key), bytes(value)) for key, value in txn.cursor(env.nodes)]


def test_what_is_not_committed_is_not_there(env: Environment) -> None:
    fill(env, 100)

    def work(txn: Transaction) -> None:
        txn.put(b"new", b"x" * 5000, db=env.nodes)
        for key in range(5000):  # more than fits in memory at once: LMDB writes pages before it commits
            txn.put(KEY.pack(key), b"x" * 5000, db=env.nodes)
        with env.snapshot() as before:
            check_all_tables(env, before)

    env.update(work)
    with env.snapshot() as after:
        check_all_tables(env, after)


VALUES = st.tuples(st.integers(0, 400), st.sampled_from((None, 0, 30, 500, 2022, 2023, 2024, 2100, 4080, 4081, 9000)))


@pytest.mark.slow
@given(st.lists(st.lists(VALUES, min_size=1, max_size=150), min_size=1, max_size=8), st.integers(0, 7))
def test_a_scan_sees_what_a_cursor_sees(commits: list[list[tuple[int, int | None]]], kept: int) -> None:
    """Of the latest state, and of one that others have changed since: rows come, change size and go."""
    with tempfile.TemporaryDirectory() as folder, closing(open_environment(folder, sync=False)) as env:
        old = env.begin_read(False)
        try:
            for number, changes in enumerate(commits):

                def work(txn: Transaction, changes: list[tuple[int, int | None]] = changes) -> None:
                    for key, size in changes:
                        if size is None:
                            txn.delete(KEY.pack(key), db=env.nodes)
                        else:
                            txn.put(KEY.pack(key), bytes([key % 256]) * size, db=env.nodes)

                env.update(work)
                if number == kept:
                    env.end_read(old)
                    old = env.begin_read(False)
                check_all_tables(env, old)
                with env.snapshot() as txn:
                    check_all_tables(env, txn)
        finally:
            env.end_read(old)


def test_a_table_with_sorted_duplicates_is_refused(env: Environment) -> None:
    with env.snapshot() as txn, pages_of(env, txn) as pages, pytest.raises(DatabaseError, match="'outputs'"):
        list(pages.rows(OUTPUTS))


class Records:
    """A transaction that knows the record of one table."""

    def __init__(self, record: bytes) -> None:
        self._record = record

    def get(self, _: bytes) -> bytes:
        return self._record


def read(file: Path, record: bytes) -> Rows:
    with Pages("db", Records(record), os.open(file, os.O_RDONLY), 4096) as pages:  # type: ignore[arg-type]
        return list(pages.rows(NODES))


def sample(env: Environment, rows: int) -> tuple[bytearray, bytes, Rows]:
    """The file, the record of a table in it, and the table's rows."""
    fill(env, rows)
    with env.snapshot() as txn:
        record = txn.get(NODES.encode())
        assert record is not None
        with open(env.file, "rb") as file:
            return bytearray(file.read()), record, list(txn.cursor(env.nodes))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [3, 700])
def test_damaged_pages_are_an_error_and_no_crash(env: Environment, scratch: Path, rows: int) -> None:
    content, record, expected = sample(env, rows)
    damaged = scratch / "damaged"
    damaged.write_bytes(content)
    assert read(damaged, record) == expected
    source = random.Random(rows)
    places = [page * 4096 for page in range(2, len(content) // 4096)]
    errors = 0
    with open(damaged, "r+b", buffering=0) as file:
        for _ in range(1000):
            # Heads and tables of offsets are short, and what they say is the most dangerous.
            changes = [
                (source.choice(places) + source.randrange(source.choice((16, 64, 4096))), source.randbytes(1))
                for _ in range(source.choice((1, 8, 200)))
            ]
            for place, byte in changes:
                os.pwrite(file.fileno(), byte, place)
            try:
                read(damaged, record)
            except DatabaseError:
                errors += 1
            for place, _ in changes:
                os.pwrite(file.fileno(), content[place : place + 1], place)
    assert errors > 300
    assert read(damaged, record) == expected


@pytest.mark.slow
def test_a_damaged_record_of_a_table_is_an_error_and_no_crash(env: Environment, scratch: Path) -> None:
    content, record, expected = sample(env, 700)
    file = scratch / "whole"
    file.write_bytes(content)
    source = random.Random(2)
    errors = 0
    for _ in range(1000):
        changed = bytearray(record)
        for _ in range(source.choice((1, 4))):
            changed[source.randrange(48)] = source.choice((0, 1, 2, 3, 127, 255, source.randrange(256)))
        try:
            assert read(file, bytes(changed)) == expected
        except DatabaseError:
            errors += 1
    assert errors > 300
    for size in (1, 47, 49):
        with pytest.raises(DatabaseError, match="damaged"):
            read(file, (record * 2)[:size])


@pytest.mark.parametrize("left", [0, 4096, 3 * 4096, 100_000])
def test_a_file_that_was_cut_is_damaged(env: Environment, scratch: Path, left: int) -> None:
    content, record, _ = sample(env, 700)
    file = scratch / "cut"
    file.write_bytes(content[:left])
    with pytest.raises(DatabaseError, match="the store database 'db' is damaged: a page of 'nodes'"):
        read(file, record)


def test_what_cannot_be_read_is_said(env: Environment, scratch: Path) -> None:
    _, record, _ = sample(env, 1)
    with pytest.raises(DatabaseError, match="can't be read: Is a directory"):
        read(scratch, record)


@pytest.mark.parametrize("place", [16, 20, 40])
def test_another_layout_is_left_to_lmdb(env: Environment, place: int) -> None:
    with env.snapshot() as txn:
        with open(env.file, "r+b", buffering=0) as file:
            before = os.pread(file.fileno(), 4, place)
            os.pwrite(file.fileno(), b"\x03\0\0\0", place)
            try:
                assert open_pages(env, txn) is None
            finally:
                os.pwrite(file.fileno(), before, place)
        check_all_tables(env, txn)


def test_as_python_there_are_no_pages(env: Environment) -> None:
    with env.snapshot() as txn:
        assert variant("storefs.metadata.page_scan", VARIANTS[1]).open_pages(env, txn) is None
