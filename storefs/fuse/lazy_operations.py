"""Transport `pyfuse3` for a lazy mount: here handlers wait, so that a real event loop drives them.

A request whose answer must be fetched first waits in a thread, while the loop serves the others. That costs the 30 us
that `synchronous.py` saves.

libfuse does not pass on that somebody was interrupted (^C), and who waits for an answer can't even be killed. Whoever
waits for bytes can: that is the kernel's page cache waiting. For others the signals that are pending tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from storefs.fuse.operations import Operations, Pyfuse3Server

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from storefs.fuse.view import Inode, View

_MOST_AT_ONCE = 16  # requests that wait, as in `waiting.py`; the next ones wait in the kernel
_LOOK_EVERY = 0.1  # seconds


class _LazyOperations(Operations):
    async def wait_for(self, wait: Callable[[], None], thread: int) -> None:
        async def look() -> None:
            while not _is_interrupted(thread):
                await trio.sleep(_LOOK_EVERY)
            nursery.cancel_scope.cancel()

        ended, failure = False, None
        async with trio.open_nursery() as nursery:
            if thread:
                nursery.start_soon(look)
            try:
                await trio.to_thread.run_sync(wait, abandon_on_cancel=True)
            except Exception as error:  # raised below: a nursery would make a group of it
                failure = error
            ended = True
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if not ended:
            raise InterruptedError


def _is_interrupted(thread: int) -> bool:
    """Whether a signal is pending for a thread that it neither blocks nor ignores; see proc_pid_status(5)."""
    masks = dict.fromkeys(("SigPnd", "ShdPnd", "SigBlk", "SigIgn"), 0)
    try:
        with open(f"/proc/{thread}/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in masks:
                    masks[name] = int(value, 16)
    except OSError:
        return False  # it lives in a process namespace that can't be seen from here
    return bool((masks["SigPnd"] | masks["ShdPnd"]) & ~masks["SigBlk"] & ~masks["SigIgn"])


class LazyPyfuse3Server(Pyfuse3Server):
    """One connection; see `Pyfuse3Server`. Views are asked in the serving thread only."""

    wakes_for_signals = True

    def make_operations(self, view: View, report: Callable[[str, Inode | None], None]) -> Operations:
        """Return handlers that can wait."""
        return _LazyOperations(view, report)

    def prepare_loop(self, fd: int) -> None:
        """Leave pyfuse3 with the loop that it was made for."""

    def drive(self, main: Callable[[int, int], Coroutine[object, None, None]]) -> None:
        """Run pyfuse3's main coroutine with trio, where handlers may wait."""
        trio.run(main, 1, _MOST_AT_ONCE + 1)
