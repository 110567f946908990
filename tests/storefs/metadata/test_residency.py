from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from storefs.castore.contents import Contents
from storefs.castore.trees import DirectoryNode, FileNode
from storefs.metadata.environment import Environment, open_environment
from storefs.metadata.residency import Residency
from storefs.metadata.tree_writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from storefs.metadata.environment import Transaction

_ROW = 2000  # bytes: two in a page
_ROWS = 30_000
_MANY = 20 << 20  # bytes
_CONTENT = b"content"


class Same(Contents):
    """Every file has the same contents, whatever its digest."""

    def __init__(self) -> None:
        super().__init__(pytest.fail, 100)

    def inline(self, digest: bytes) -> bytes:
        return _CONTENT


def resident(env: Environment) -> int:
    """How many bytes of the database are in this process's memory."""
    total, inside = 0, False
    with open("/proc/self/smaps", encoding="utf-8") as maps:
        for line in maps:
            if "-" in line.split(" ", 1)[0]:
                inside = line.rstrip().endswith(env.file)
            elif inside and line.startswith("Rss:"):
                total += int(line.split()[1]) << 10
    return total


def read_alone(env: Environment) -> bool:
    """Whether what is not in the page cache is read without its neighbours (`rr` in proc(5), VmFlags)."""
    inside = False
    with open("/proc/self/smaps", encoding="utf-8") as maps:
        for line in maps:
            if "-" in line.split(" ", 1)[0]:
                inside = line.rstrip().endswith(env.file)
            elif inside and line.startswith("VmFlags:"):
                return "rr" in line.split()
    raise AssertionError("the database is not mapped")


def key(number: int) -> bytes:
    return b"%032d\0" % number


def filled(path: Path) -> Environment:
    """A database of 80 MB, none of which is in memory, whose index of files is most of it."""
    env = open_environment(str(path), sync=False)

    def fill(txn: Transaction) -> None:
        txn.cursor(env.files).putmulti([(key(2 * number), bytes(_ROW)) for number in range(_ROWS)])

    env.update(fill)
    Residency(env.path, worth=0).give_up()
    assert resident(env) < 1 << 20
    return env


def most_resident(env: Environment, tick: Callable[[], None]) -> int:
    most = 0
    with env.snapshot() as txn:
        for place, number in enumerate(random.Random(0).sample(range(_ROWS), 2000)):
            txn.get(key(2 * number), db=env.files)
            tick()
            if place % 50 == 0:
                most = max(most, resident(env))
    return most


def test_no_more_than_there_is_room_for_stays(scratch: Path) -> None:
    env = filled(scratch / "db")
    assert most_resident(env, lambda: None) > _MANY
    assert most_resident(env, Residency(env.path, every=4, worth=0, room=8 << 20).tick) < _MANY
    env.close()


def test_a_small_file_is_left_alone(scratch: Path) -> None:
    env = filled(scratch / "db")
    with env.snapshot() as txn:
        txn.get(key(0), db=env.files)
        before = resident(env)
        Residency(env.path, worth=1 << 30).give_up()
        assert resident(env) == before > 0
    env.close()


def test_writing_many_files_into_a_large_database(scratch: Path) -> None:
    env = filled(scratch / "db")
    numbers = random.Random(0).sample(range(_ROWS), 2000)
    most = 0

    def write(txn: Transaction) -> None:
        nonlocal most
        writer = TreeWriter(env, txn, Same())
        for start in range(0, len(numbers), 20):
            folder = DirectoryNode()
            for number in numbers[start : start + 20]:
                folder.entries.append((b"%d" % number, FileNode(key(2 * number + 1), len(_CONTENT))))
            writer.hold([folder], b"owner")
            most = max(most, resident(env))
        writer.finish()
        assert resident(env) < 1 << 20

    env.update(write)
    assert most < _MANY
    env.close()


def test_who_looks_here_and_there_has_no_neighbours_read(scratch: Path) -> None:
    env = filled(scratch / "db")
    scan = Residency(env.path, worth=0)
    assert not read_alone(env)
    looks = Residency(env.path, worth=0, scattered=True)
    assert read_alone(env)
    looks.end()
    assert not read_alone(env)
    looks = Residency(env.path, worth=0, scattered=True)
    assert read_alone(env)
    del looks  # as when a transaction fails
    assert not read_alone(env)
    scan.give_up()
    env.close()


def test_a_transaction_that_looks_for_many_files_is_such(scratch: Path) -> None:
    env = filled(scratch / "db")
    folder = DirectoryNode()
    folder.entries += [(b"%04d" % number, FileNode(key(2 * number + 1), len(_CONTENT))) for number in range(100)]

    def write(txn: Transaction) -> None:
        writer = TreeWriter(env, txn, Same())
        writer.hold([folder], b"owner")
        assert read_alone(env)
        writer.finish()
        assert not read_alone(env)

    env.update(write)
    env.close()
