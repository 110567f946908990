"""A request to stop, seen by many threads and by those that wait in poll(2).

`cancel` may be called from any thread and from a signal handler's frame; once cancelled, always cancelled.
"""

from __future__ import annotations

import os
import select
from _thread import allocate_lock, start_new_thread
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Cancellation:
    """Becomes readable, as a descriptor, when it is cancelled. A context manager that closes the descriptor."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.cancelled = False

    def __enter__(self) -> Cancellation:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        """The descriptor, for poll(2)."""
        return self._descriptor

    def wait(self, seconds: float) -> bool:
        """Wait until it is cancelled, for at most `seconds`; return whether it is."""
        select.select([self], [], [], seconds)
        return self.cancelled

    def cancel(self) -> None:
        """Ask everybody to stop."""
        self.cancelled = True
        os.eventfd_write(self._descriptor, 1)


@contextmanager
def until_hangup(descriptor: int) -> Iterator[Cancellation]:
    """A request to stop that comes when nobody has the other end of a descriptor any more: a socket's or a pipe's."""
    with Cancellation() as cancellation, Cancellation() as finished:
        watching = allocate_lock()
        watching.acquire()

        def watch() -> None:
            poll = select.poll()
            poll.register(descriptor, select.POLLRDHUP | select.POLLHUP)
            poll.register(finished, select.POLLIN)
            if any(ready == descriptor for ready, _ in poll.poll()):
                cancellation.cancel()
            watching.release()

        start_new_thread(watch, ())
        try:
            yield cancellation
        finally:
            finished.cancel()
            with watching:
                pass
