"""A thread that is waited for, without `threading`, which takes a millisecond to load.

For work beside the one who asked for it: castore/write_behind.py and stores/blob_sizes.py.
"""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class JoinedThread:
    """Runs one function; whoever joins is told what it raised.  Joining before the start, or again, does not wait."""

    __slots__ = ("_ended", "_error")

    def __init__(self) -> None:
        self._ended = allocate_lock()  # held while the thread runs
        self._error: BaseException | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Begin; once.  Raises RuntimeError where no thread can be made, and joining does not wait for one then."""
        self._ended.acquire()
        try:
            start_new_thread(self._run, (work,))
        except BaseException as error:
            self._error = error
            self._ended.release()
            raise

    def join(self) -> BaseException | None:
        """Wait until it has ended, and return what it raised, or what kept it from starting."""
        with self._ended:
            return self._error

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # told to who joins
            self._error = error
        finally:
            self._ended.release()
