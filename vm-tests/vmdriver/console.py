"""A machine's serial console: read as it comes, kept, shown, and waited for."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|[\x00-\x08\x0b-\x1f]")
_PANIC = "Kernel panic - "


class Console:
    """Everything a machine has written to its console, line by line.

    Args:
        show: called with each complete line, from the reading thread.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._lines: list[str] = []
        self._partial = b""
        self._life = 0  # the first line since it was followed last
        self._searched = 0
        self._changed = threading.Condition()
        self._ended = False

    def follow(self, stream: socket.socket) -> threading.Thread:
        """Read `stream` to its end in a thread of its own."""
        self._ended = False
        self._life = len(self._lines)
        thread = threading.Thread(target=self._read, args=(stream,), name="console", daemon=True)
        thread.start()
        return thread

    def tail(self, count: int = 40) -> list[str]:
        """Return the last lines since it was followed last; where the kernel has panicked, those around its saying so.

        A trace follows a panic, and is longer at times than `count`: its end says nothing about what led to it.
        """
        with self._changed:
            lines = self._lines[self._life :]
        panic = next((index for index, line in enumerate(lines) if _PANIC in line), None)
        if panic is None:
            return lines[-count:]
        first = max(0, panic + 1 - count // 2)
        return lines[first : first + count]

    def text(self) -> str:
        """Return everything so far."""
        with self._changed:
            return "\n".join(self._lines)

    def wait_for(self, pattern: str, timeout: float | None) -> bool:
        """Wait for a line that matches, among those that no earlier call has looked at; return whether it came.

        False also when the console has ended. `timeout` is in seconds, None waits for ever.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        expression = re.compile(pattern)
        with self._changed:
            while True:
                while self._searched < len(self._lines):
                    line = self._lines[self._searched]
                    self._searched += 1
                    if expression.search(line):
                        return True
                if self._searched == len(self._lines) and expression.search(_clean(self._partial)):
                    self._searched += 1  # the line has been found: not once more when its end arrives
                    return True
                left = None if deadline is None else deadline - time.monotonic()
                if self._ended or (left is not None and left <= 0):
                    return False
                self._changed.wait(left)

    def _read(self, stream: socket.socket) -> None:
        while True:
            try:
                data = stream.recv(1 << 16)
            except OSError:
                data = b""
            complete: list[str] = []
            with self._changed:
                if data:
                    *lines, self._partial = (self._partial + data).split(b"\n")
                    complete = [_clean(line) for line in lines]
                else:
                    self._ended = True
                    if self._partial:
                        complete, self._partial = [_clean(self._partial)], b""
                self._lines.extend(complete)
                self._changed.notify_all()
            for line in complete:
                self._show(line)
            if not data:
                return


def _clean(line: bytes) -> str:
    return _CONTROL.sub(b"", line).decode("utf-8", "replace")
