"""pyfuse3's handlers called directly: they translate, and nothing that goes wrong gets past them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyfuse3
import pytest

from storefs.fuse import synchronous
from storefs.fuse.operations import Pyfuse3Server
from storefs.fuse.view import ROOT, View
from storefs.metadata import trees
from tests.storefs.fuse.memory_forest import MemoryForest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    T = TypeVar("T")

BIG = bytes(range(251)) * 4000


class Handlers:
    """The operations of a server that no kernel is connected to."""

    def __init__(self, forest: MemoryForest) -> None:
        self.reports: list[tuple[str, int | None]] = []
        self.view = View(forest)
        self.server = Pyfuse3Server(-1, self.view, lambda text, inode: self.reports.append((text, inode)))
        self.call = self.server._operations

    def walk(self, *names: bytes) -> int:
        inode = ROOT
        for name in names:
            inode = answer(self.call.lookup(inode, name)).st_ino
        return inode


def answer(awaitable: Awaitable[T]) -> T:
    try:
        next(awaitable.__await__())
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("a handler waited")


def refusal(handler: Callable[..., Awaitable[object]], *arguments: object) -> int:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        answer(handler(*arguments))
    return int(caught.value.errno)


@pytest.fixture
def forest(scratch: Path) -> MemoryForest:
    forest = MemoryForest(str(scratch), inline_limit=100)
    forest.plant(b"p", {b"small": b"hello", b"big": BIG, b"link": "to/where", b"run": b"#!/bin/sh"})
    return forest


@pytest.fixture
def handlers(forest: MemoryForest) -> Iterator[Handlers]:
    handlers = Handlers(forest)
    yield handlers
    handlers.view.close()


def test_looks_names_up_and_tells_what_they_are(handlers: Handlers) -> None:
    found = answer(handlers.call.lookup(handlers.walk(b"p"), b"run"))
    assert found.st_mode == trees.MODE_EXECUTABLE
    assert (found.st_uid, found.st_nlink, found.st_mtime_ns) == (0, 1, 10**9)
    assert answer(handlers.call.getattr(handlers.walk(b"p", b"big"))).st_size == len(BIG)
    assert answer(handlers.call.getattr(ROOT)).st_mode == trees.MODE_DIRECTORY


def test_a_missing_name_is_remembered_except_in_the_root(handlers: Handlers) -> None:
    assert refusal(handlers.call.lookup, ROOT, b"nothing") == errno.ENOENT
    negative = answer(handlers.call.lookup(handlers.walk(b"p"), b"nothing"))
    assert negative.st_ino == 0
    assert negative.entry_timeout > 1e9
    assert refusal(handlers.call.lookup, handlers.walk(b"p"), b"x" * 256) == errno.ENAMETOOLONG


def test_names_in_the_copy_of_a_directory_are_the_same_answers_and_are_counted(
    handlers: Handlers, forest: MemoryForest
) -> None:
    root = handlers.walk(b"p")
    before = handlers.server.statistics()["requests lookup"]
    plain = [answer(handlers.call.lookup(root, name)).__getstate__() for name in (b"run", b"big", b"nothing")]
    forest.recent.keep(root, forest._dirs[root])
    copied = [answer(handlers.call.lookup(root, name)).__getstate__() for name in (b"run", b"big", b"nothing")]
    assert copied == plain
    assert handlers.server.statistics()["requests lookup"] == before + 6


def test_reads(handlers: Handlers) -> None:
    big = handlers.walk(b"p", b"big")
    assert bytes(answer(handlers.call.read(big, 1000, 5000))) == BIG[1000:6000]
    assert bytes(answer(handlers.call.read(big, len(BIG) - 3, 4096))) == BIG[-3:]
    assert bytes(answer(handlers.call.read(big, len(BIG), 4096))) == b""
    assert bytes(answer(handlers.call.read(handlers.walk(b"p", b"small"), 1, 2))) == b"el"
    assert answer(handlers.call.readlink(handlers.walk(b"p", b"link"))) == b"to/where"


def test_opens_for_reading_only(handlers: Handlers) -> None:
    small = handlers.walk(b"p", b"small")
    assert answer(handlers.call.open(small, os.O_RDONLY)).keep_cache
    for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDONLY | os.O_TRUNC):
        assert refusal(handlers.call.open, small, flags) == errno.EROFS


def test_every_change_is_refused(handlers: Handlers) -> None:
    call = handlers.call
    for handler in (call.setattr, call.mkdir, call.unlink, call.rename, call.create, call.write, call.setxattr):
        assert refusal(handler) == errno.EROFS


def test_a_bug_is_eio_and_is_reported(handlers: Handlers, forest: MemoryForest) -> None:
    root = handlers.walk(b"p")
    forest.find_entry = lambda directory, name: 1 // 0  # type: ignore[assignment,method-assign]  # a bug
    assert refusal(handlers.call.lookup, root, b"small") == errno.EIO
    assert handlers.reports == [("request lookup failed: ZeroDivisionError: integer division or modulo by zero", None)]


def test_what_was_collected_is_stale(handlers: Handlers, forest: MemoryForest) -> None:
    root = handlers.walk(b"p")
    forest.fell(b"p")
    assert refusal(handlers.call.lookup, root, b"small") == errno.ESTALE


def test_a_corrupt_blob_is_eio(handlers: Handlers, forest: MemoryForest) -> None:
    big = handlers.walk(b"p", b"big")
    with open(forest.blob_path(forest.content(big)[1]), "r+b") as file:
        file.truncate(100)
    assert refusal(handlers.call.read, big, 0, 10) == errno.EIO
    assert [inode for _, inode in handlers.reports] == [big]


def test_the_driver_refuses_handlers_that_wait() -> None:
    class Waits:
        def __await__(self) -> Iterator[None]:
            yield

    async def main() -> None:
        await Waits()

    with pytest.raises(RuntimeError, match="a handler waited"):
        synchronous.run(main())
