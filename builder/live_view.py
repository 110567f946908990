"""What builds and downloads, since when and how far, as one view at the bottom of a terminal.

Only for a terminal, and only when something takes longer than a moment: `rich` costs more to import than a small build
takes. Lines that scroll by (messages, the output of builders with -L) are printed above the view. The view is drawn by
a thread of its own, four times a second; what it shows is kept under a lock.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from builder.progress import (
    BUILD,
    BUILD_WAITING,
    COPY_PATH,
    FILE_TRANSFER,
    POST_BUILD_HOOK,
    SUBSTITUTE,
    Activity,
    Progress,
)
from storefs import logs
from storefs.terminal_text import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

_SHOWN_AFTER = 0.5  # seconds; what is done sooner needs no view
_REFRESHES = 4  # a second
_ROWS = 8
_FREE = 3  # columns
_TIME = 7  # columns of `100h02m`
_FETCHES = {COPY_PATH, FILE_TRANSFER, SUBSTITUTE}


class _Row:
    """One activity that goes on."""

    __slots__ = ("activity", "began", "last_line")

    def __init__(self, activity: Activity) -> None:
        self.activity = activity
        self.began = time.monotonic()
        self.last_line = ""


class LiveProgress(Progress):
    """See the module. To be closed, which leaves the terminal as it was.

    Args:
        show_logs: print the output of builders above the view; else its last line stands beside each build.
    """

    def __init__(self, show_logs: bool = False) -> None:
        super().__init__(show_logs)
        self._lock = threading.RLock()
        self._rows: dict[int, _Row] = {}
        self._waits = ""
        self._builds = self._fetches = 0  # expected
        self._built = self._fetched = self._failed = 0
        self._bytes = self._bytes_expected = 0
        self._began = time.monotonic()
        self._live: Live | None = None
        self._plain = logs.sink.emit
        self._timer = threading.Timer(_SHOWN_AFTER, self._show)
        self._timer.daemon = True
        self._timer.start()

    def expect(self, builds: int, fetches: int, download: int = 0) -> None:
        """See `Progress`."""
        with self._lock:
            self._builds += builds
            self._fetches += fetches
            self._bytes_expected += download

    def received(self, count: int) -> None:
        """See `Progress`."""
        with self._lock:
            self._bytes += count

    def start(self, kind: int, name: str, text: str, fields: Sequence[object] = (), level: int = logs.INFO) -> Activity:
        """See `Progress`."""
        activity = super().start(kind, name, text, fields, level)
        with self._lock:
            self._waits = ""
            self._rows[activity.number] = _Row(activity)
        return activity

    def line(self, activity: Activity, text: str) -> None:
        """See `Progress`."""
        with self._lock:
            row = self._rows.get(activity.number)
            if row is not None:
                row.last_line = text
        if self.show_logs:
            logs.log(logs.ERROR, f"{activity.name}> {text}" if activity.name else text)

    def stop(self, activity: Activity, *, ok: bool = True) -> None:
        """See `Progress`."""
        with self._lock:
            self._rows.pop(activity.number, None)
            if activity.kind == BUILD:
                self._built += ok
                self._failed += not ok
            elif activity.kind in _FETCHES:
                self._fetched += ok
                self._failed += not ok

    def waiting(self, text: str) -> None:
        """See `Progress`."""
        with self._lock:
            self._waits = text
        if self._live is None:
            super().waiting(text)

    def close(self) -> None:
        """See `Progress`."""
        self._timer.cancel()
        with self._lock:
            live, self._live = self._live, None
            self._rows.clear()
        if live is not None:
            live.stop()
        logs.sink.emit = self._plain

    def _show(self) -> None:
        """Begin to draw; called by the timer."""
        from rich.console import Console  # noqa: PLC0415  100 ms, for whoever watches a terminal for longer than that
        from rich.live import Live  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        console = Console(stderr=True, highlight=False, soft_wrap=True)
        with self._lock:
            if not self._rows:
                # Nothing goes on (yet): look again later.
                self._timer = threading.Timer(_SHOWN_AFTER, self._show)
                self._timer.daemon = True
                self._timer.start()
                return
            self._live = Live(
                get_renderable=lambda: self.draw(console),
                console=console,
                refresh_per_second=_REFRESHES,
                transient=True,
            )
            self._live.start()
            logs.sink.emit = lambda line: console.print(Text.from_ansi(line))

    def draw(self, console: Console) -> Table:
        """The view as it is now, for a terminal; in its last columns there is nothing.

        They are for the `^C` that a terminal shows where the cursor is: on a full line it would begin another one.
        """
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        with self._lock:
            table = Table.grid(padding=(0, 1), expand=True)
            table.width = max(console.width - _FREE, 10)
            table.add_column(no_wrap=True, overflow="ellipsis")
            table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
            table.add_column(no_wrap=True, justify="right", width=_TIME)
            now = time.monotonic()
            rows = sorted(self._rows.values(), key=lambda row: row.began)
            for row in rows[:_ROWS]:
                beside = "" if self.show_logs else harmless(row.last_line, colours=False)
                table.add_row(
                    Text(f"{_SIGNS.get(row.activity.kind, '·')} {row.activity.name or row.activity.text}"),
                    Text(beside, style="dim"),
                    Text(duration(now - row.began)),
                )
            if len(rows) > _ROWS:
                table.add_row(Text(f"  and {len(rows) - _ROWS} more"), Text(""), Text(""))
            if self._waits and not rows:
                table.add_row(Text(f"  {self._waits}"), Text(""), Text(""))
            table.add_row(Text(self._summary(now)), Text(""), Text(duration(now - self._began)))
            return table

    def _summary(self, now: float) -> str:
        building = sum(row.activity.kind == BUILD for row in self._rows.values())
        parts = []
        if self._builds or self._built or building:
            total = max(self._builds, self._built + self._failed + building)
            parts.append(f"{self._built}/{total} built" + (f", {building} running" if building else ""))
        if self._fetches or self._fetched:
            parts.append(f"{self._fetched}/{max(self._fetches, self._fetched)} fetched")
        if self._bytes:
            parts.append(transfer(self._bytes, self._bytes_expected, now - self._began))
        if self._failed:
            parts.append(f"{self._failed} failed")
        return "; ".join(parts) or "starting"


_SIGNS = {BUILD: "building", POST_BUILD_HOOK: "running", BUILD_WAITING: "waiting"} | dict.fromkeys(_FETCHES, "fetching")


def duration(seconds: float) -> str:
    """Write a duration as short as it can be understood: `42s`, `3m07s`, `1h02m`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def transfer(done: int, total: int, seconds: float) -> str:
    """Write how far a download is, how fast it goes, and how long it will take."""
    rate = done / seconds if seconds > 0 else 0.0
    text = f"{done / 1e6:.1f}{f'/{total / 1e6:.1f}' if total else ''} MB, {rate / 1e6:.1f} MB/s"
    if total > done and rate > 0:
        text += f", {duration((total - done) / rate)} left"
    return text
