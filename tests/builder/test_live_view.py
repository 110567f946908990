"""The view for terminals: what it says."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console

from builder.live_view import LiveProgress, duration, transfer
from builder.progress import BUILD


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59.9, "59s"), (60, "1m00s"), (187, "3m07s"), (3720, "1h02m")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_transfer_tells_rate_and_time_left() -> None:
    assert transfer(10_000_000, 30_000_000, 5) == "10.0/30.0 MB, 2.0 MB/s, 10s left"
    assert transfer(10_000_000, 0, 5) == "10.0 MB, 2.0 MB/s"


PROGRAM = """
import sys, threading
from storefs import logs
from builder.live_view import LiveProgress
from builder.progress import BUILD
progress = LiveProgress()
progress.expect(3, 0)
one = progress.start(BUILD, "hello", "building '/nix/store/x-hello.drv'")
progress.stop(progress.start(BUILD, "other", "building '/nix/store/x-other.drv'"), ok=False)
progress.line(one, "compiling \\x1b]0;a title\\amain.c")
while progress._live is None: threading.Event().wait(0.05)
progress._live.refresh()
logs.warn("something odd")
progress._live.refresh()
progress.close()
print("after", file=sys.stderr)
"""


@pytest.mark.slow
def test_the_view_shows_what_builds_and_goes_away() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        seen += piece
    os.close(ours)
    assert process.wait() == 0, seen.decode()
    text = seen.decode()
    assert "building hello" in text
    assert "compiling main.c" in text
    assert "0/3 built, 1 running; 1 failed" in text
    assert "something odd" in text
    assert "a title" not in text
    # The view is erased: what comes afterwards stands on a clean line.
    assert text.rstrip().endswith("after")
    assert "\x1b[2K" in text


@pytest.mark.slow
@pytest.mark.parametrize("width", [40, 120])
def test_narrow_terminals_cut_names_and_not_times(width: int) -> None:
    """What stays free at the right is for the ^C that a terminal shows: the view must not move down for it."""
    view = LiveProgress()
    try:
        name = "a-package-with-quite-a-long-name-that-does-not-end-soon-1.2.3"
        view.line(view.start(BUILD, name, f"building '{name}'"), "a line of output that is longer than the terminal is")
        written = io.StringIO()
        console = Console(width=width, height=24, file=written, color_system=None)
        console.print(view.draw(console))
        lines = written.getvalue().splitlines()
    finally:
        view.close()
    assert [line[-3:] for line in lines] == [" 0s", " 0s"]
    assert [len(line) for line in lines] == [width - 3, width - 3]
    assert lines[0].startswith("building a-package")
