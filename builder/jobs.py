"""Threads with one job each, which reports when it is over: what a run has under way.

One thread, the coordinator, starts jobs and takes their reports.  It can wait for all of them whatever happened: also
where ^C came between two steps of starting one, or of taking in what it reported.  Knows nothing of what they do.
"""

from __future__ import annotations

from _queue import Empty, SimpleQueue  # `queue` imports `threading`, which a small build need not wait for
from _thread import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_LOOK_SECONDS = 0.05  # how often it is looked at whether jobs are over whose report may have been lost


class Jobs:
    """See the module."""

    def __init__(self) -> None:
        self._reports: SimpleQueue[Any] = SimpleQueue()
        self._running = 0  # whose report was not taken
        self._threads: list[int] = []  # of all that ever began
        self._over: list[None] = []  # one for each that is over

    def __bool__(self) -> bool:
        """Whether any report is to come."""
        return self._running > 0

    def start(self, work: Callable[[], object]) -> None:
        """Begin one; ``work`` returns its report, which is not None, and raises nothing."""
        self._running += 1

        def job() -> None:
            self._reports.put(work())
            self._over.append(None)

        # One call: ^C comes before both or after. Who waits for a thread that never began would wait for ever.
        self._threads.extend(map(start_new_thread, (job,), ((),)))

    def report(self, seconds: float | None) -> Any:
        """Wait for the next report; None where there was none for so many seconds."""
        try:
            report = self._reports.get(timeout=seconds)
        except Empty:
            return None
        self._running -= 1
        return report

    def rest(self) -> Iterator[Any]:
        """Yield the reports that are to come, and end when every job is over."""
        while self._running and len(self._over) < len(self._threads):
            report = self.report(_LOOK_SECONDS)
            if report is not None:
                yield report
        while not self._reports.empty():
            yield self.report(None)
