from __future__ import annotations

import os
import sys
import threading
import weakref

import pytest

from storefs.castore.side_thread import SideThread
from tests.waiting import wait_until


def test_everything_is_done_in_order() -> None:
    done: list[int] = []
    thread = SideThread(done.append)
    for number in range(1000):
        thread.put(number)
        if number % 100 == 99:
            thread.drain()
            assert len(done) == number + 1
    thread.finish()
    assert done == list(range(1000))


def test_few_items_wait() -> None:
    started, go_on = threading.Event(), threading.Event()
    taken: list[int] = []

    def work(number: int) -> None:
        started.set()
        go_on.wait()
        taken.append(number)

    thread = SideThread(work)
    thread.put(0)
    started.wait()
    put: list[int] = []
    full = threading.Thread(target=lambda: [(thread.put(number), put.append(number)) for number in range(1, 100)])
    full.start()
    wait_until(lambda: len(put) >= 4)
    for _ in range(1000):  # chances to put more
        os.sched_yield()
    assert len(put) == 4
    assert not taken
    go_on.set()
    full.join()
    thread.finish()
    assert taken == list(range(100))


def test_an_error_is_raised_where_it_is_waited_for_and_ends_the_work() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 3:
            raise OSError("full")
        done.append(number)

    for wait in (SideThread.drain, SideThread.finish, lambda thread: [thread.put(9) for _ in range(1000)]):
        done.clear()
        thread = SideThread(work)
        with pytest.raises(OSError, match="full"):  # by a later `put` at the earliest
            for number in range(6):
                thread.put(number)
            wait(thread)
        thread.abort()
        assert done == [0, 1, 2]


def test_abort_waits_and_does_not_raise() -> None:
    done: list[int] = []
    thread = SideThread(done.append)
    thread.put(1)
    thread.abort()
    thread.abort()
    assert done == [1]


def test_what_is_done_is_let_go() -> None:
    class Item:
        pass

    thread = SideThread(lambda _: None)
    item = Item()
    seen = weakref.ref(item)
    thread.put(item)
    del item
    thread.drain()
    assert seen() is None
    thread.finish()


def test_threads_switch_sooner_while_one_lives() -> None:
    before = sys.getswitchinterval()
    one, two = SideThread(repr), SideThread(repr)
    assert sys.getswitchinterval() < before
    one.finish()
    one.abort()
    assert sys.getswitchinterval() < before
    two.abort()
    assert sys.getswitchinterval() == before
