"""A thread beside the one that reads: hashing and writing release the interpreter lock, so both processors work.

Knows nothing of contents.  For `castore` and stores/staging.py; each is used by one thread, and ends with `finish` or
`abort`.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_AHEAD = 4  # items that may wait, and as many that were taken: so much memory, and no more
# Seconds until a thread that waits for the interpreter lock asks for it; Python's own 0.005 are long beside what these
# do between two system calls, and a processor is idle meanwhile (measured: a large addition took a tenth more).
_SWITCH_AFTER = 0.0001


class _QuickSwitches:
    """Has threads ask for the interpreter lock sooner while any `SideThread` lives.

    Not for good: an evaluator or a mount, whose threads seldom wait for each other, gains nothing by it.
    """

    def __init__(self) -> None:
        self._guard = allocate_lock()
        self._threads = 0
        self._before = 0.0

    def begin(self) -> None:
        with self._guard:
            self._threads += 1
            if self._threads == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(_SWITCH_AFTER)

    def end(self) -> None:
        with self._guard:
            self._threads -= 1
            if not self._threads:
                sys.setswitchinterval(self._before)


_quick_switches = _QuickSwitches()


class SideThread:
    """Gives items to a function on another thread, in order, at most a few ahead.

    What the function raises is raised by the next `put`, `drain` or `finish`; it gets nothing more then.
    """

    __slots__ = ("_ahead", "_available", "_ended", "_error", "_guard", "_idle", "_items", "_left", "_room", "_work")

    def __init__(self, work: Callable[[Any], object], ahead: int = _AHEAD) -> None:
        """So many items may wait as ``ahead`` says, and as many that were taken."""
        self._work = work
        self._ahead = ahead
        self._items: list[Any] = []
        self._left = 0  # items that are not done
        self._error: BaseException | None = None
        self._ended = False
        self._guard = allocate_lock()
        self._available = allocate_lock()  # held while there is nothing to do
        self._available.acquire()
        self._room = allocate_lock()  # held while the queue is full
        self._idle = allocate_lock()  # held while something is not done
        start_new_thread(self._run, ())
        _quick_switches.begin()

    def put(self, item: Any) -> None:
        """Have the function called with this, which is not None; waits while many do."""
        if self._error is not None:
            raise self._error
        self._put(item)

    def drain(self) -> None:
        """Wait until nothing is left to do."""
        self._idle.acquire()
        self._idle.release()
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Like `drain`, and end the thread."""
        self.abort()
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        """Wait until nothing is left to do, and end the thread, whatever happened; again, it does nothing."""
        if not self._ended:
            self._ended = True
            self._put(None)
            self._idle.acquire()
            _quick_switches.end()

    def _put(self, item: Any) -> None:
        with self._room:
            pass
        with self._guard:
            self._items.append(item)
            self._left += 1
            if self._left == 1:
                self._idle.acquire()
            if len(self._items) == 1:
                self._available.release()
            if len(self._items) == self._ahead:
                self._room.acquire()

    def _run(self) -> None:
        while True:
            self._available.acquire()
            with self._guard:
                items = self._items
                self._items = []
                if len(items) >= self._ahead:
                    self._room.release()
            for item in items:
                if item is None:
                    self._idle.release()
                    return
                if self._error is None:
                    try:
                        self._work(item)
                    except BaseException as error:  # raised again where it is waited for
                        self._error = error
            done = len(items)
            item = None  # nothing that is done is kept until something else comes
            items.clear()
            with self._guard:
                self._left -= done
                if not self._left:
                    self._idle.release()
