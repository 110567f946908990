"""Transport `pyfuse3` for a lazy mount: here handlers wait, so that a real event loop drives them.

A request whose answer must be fetched first waits in a thread, while the loop serves the others. That costs the 30 us
that `synchronous.py` saves. What libfuse does not pass on is that a reader has been interrupted: with this transport ^C
works when the transfer has ended, or its time-out; with `kernel` at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from storefs.fuse.operations import Operations, Pyfuse3Server

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from storefs.fuse.view import Inode, View

_MOST_AT_ONCE = 16  # requests that wait, as in `waiting.py`; the next ones wait in the kernel


class _LazyOperations(Operations):
    async def wait_for(self, wait: Callable[[], None]) -> None:
        await trio.to_thread.run_sync(wait)


class LazyPyfuse3Server(Pyfuse3Server):
    """One connection; see `Pyfuse3Server`. Views are asked in the serving thread only."""

    wakes_for_signals = True

    def make_operations(self, view: View, report: Callable[[str, Inode | None], None]) -> Operations:
        """Return handlers that can wait."""
        return _LazyOperations(view, report)

    def prepare_loop(self) -> None:
        """Leave pyfuse3 with the loop that it was made for."""

    def drive(self, main: Callable[[int, int], Coroutine[object, None, None]]) -> None:
        """Run pyfuse3's main coroutine with trio, where handlers may wait."""
        trio.run(main, 1, _MOST_AT_ONCE + 1)
