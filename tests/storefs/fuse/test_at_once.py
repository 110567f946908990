"""Answers without an event loop: awaitables that are done, waiting for a request, look-ups in copies of directories."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Awaitable, Iterator
from types import SimpleNamespace

import pytest

from storefs.fuse.at_once import Answer, LookUps, Readiness
from storefs.metadata import trees
from storefs.metadata.entry_search import RecentDirectories

FOLDER = 20


def taken(awaitable: Awaitable[object]) -> object:
    """Await in a coroutine; fail if it would have to be suspended."""

    async def take() -> object:
        return await awaitable

    with pytest.raises(StopIteration) as done:
        take().send(None)
    return done.value.value


@pytest.mark.parametrize("value", [None, b"bytes", 5, memoryview(b"buffer"), True])
def test_an_answer_gives_its_value_each_time(value: object) -> None:
    answer = Answer()
    assert [taken(answer.give(value)), taken(answer), taken(answer.give("other"))] == [value, value, "other"]


def test_an_answer_can_be_asked_for_by_hand() -> None:
    with pytest.raises(StopIteration) as done:
        next(Answer("value").__await__())  # type: ignore[call-overload]
    assert done.value.value == "value"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_what_can_be_read_is_ready(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"x")
    assert taken(Readiness(pipe[0]).wait()) is True


def test_waits_until_there_is_something_while_signals_arrive(pipe: tuple[int, int]) -> None:
    calls = []

    def handler(number: int, frame: object) -> None:
        calls.append(number)
        if len(calls) == 3:
            os.write(pipe[1], b"x")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        assert taken(Readiness(pipe[0]).wait()) is True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(calls) >= 3
    assert select.select([pipe[0]], [], [], 0)[0]


def test_a_handler_that_raises_ends_the_wait(pipe: tuple[int, int]) -> None:
    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.002)
    try:
        with pytest.raises(KeyboardInterrupt):
            Readiness(pipe[0]).wait()
    finally:
        signal.signal(signal.SIGALRM, before)


class TestLookUps:
    @pytest.fixture
    def recent(self) -> RecentDirectories:
        recent = RecentDirectories()
        entries = [(b"a", 21, 1000, trees.MODE_REGULAR), (b"run", 22, 7, trees.MODE_EXECUTABLE)]
        recent.keep(FOLDER, trees.encode_directory(FOLDER, entries))
        return recent

    @pytest.fixture
    def look_ups(self, recent: RecentDirectories) -> LookUps:
        def elsewhere(parent: int, name: bytes, context: object) -> Awaitable[object]:
            return Answer(f"{parent} {name!r} {context}")

        return LookUps(recent, elsewhere, Answer(), SimpleNamespace(), "no such name")

    def test_finds_what_a_copy_has(self, look_ups: LookUps) -> None:
        entry = SimpleNamespace(st_ino=22, st_size=7, st_blocks=1, st_mode=trees.MODE_EXECUTABLE)
        assert taken(look_ups.lookup(FOLDER, b"run", None)) == entry
        entry = SimpleNamespace(st_ino=21, st_size=1000, st_blocks=2, st_mode=trees.MODE_REGULAR)
        assert taken(look_ups.lookup(FOLDER, b"a")) == entry
        assert look_ups.found == 2

    def test_knows_that_a_name_is_not_there(self, look_ups: LookUps) -> None:
        assert taken(look_ups.lookup(FOLDER, b"b", None)) == "no such name"
        assert taken(look_ups.lookup(FOLDER, b"x" * 255, None)) == "no such name"
        assert look_ups.found == 2

    def test_asks_elsewhere_about_other_directories_and_impossible_names(self, look_ups: LookUps) -> None:
        other = FOLDER + 64  # the copy would lie in the same place
        assert taken(look_ups.lookup(other, b"run", 3)) == f"{other} b'run' 3"
        for name in (b"", b"x" * 256):
            assert taken(look_ups.lookup(FOLDER, name, None)) == f"{FOLDER} {name!r} None"
        assert look_ups.found == 0

    def test_asks_elsewhere_after_copies_were_dropped(self, look_ups: LookUps, recent: RecentDirectories) -> None:
        recent.clear()
        assert taken(look_ups.lookup(FOLDER, b"run", None)) == f"{FOLDER} b'run' None"

    @pytest.mark.parametrize("record", [b"\2", b"\2\0\0\0" + bytes(100)], ids=["cut", "no entries"])
    def test_leaves_a_damaged_copy_to_whoever_reports_it(
        self, look_ups: LookUps, recent: RecentDirectories, record: bytes
    ) -> None:
        recent.keep(FOLDER, record)
        assert taken(look_ups.lookup(FOLDER, b"run", None)) == f"{FOLDER} b'run' None"
        assert look_ups.found == 0
