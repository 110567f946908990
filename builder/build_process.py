"""One builder process from its start to its end: its output, its log, its limits.

Blocking, in the thread of its build; ends when the process has ended and everything it printed is read. Knows no
store. The builder writes to a terminal, in raw mode, because programs then write line by line; errors and ordinary
output so come in the order in which they happened.
"""

from __future__ import annotations

import errno
import os
import select
import termios
import time

from builder.build_log import LineSplitter
from storefs.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.build_log import BuildLog
    from builder.cancellation import Cancellation
    from builder.sandbox.plan import Plan
    from builder.sandbox.spawn import Child, Spawner

SILENT, TOO_LONG, TOO_MUCH_OUTPUT, CANCELLED = "silent", "too long", "too much output", "cancelled"


@record(frozen=True, slots=True)
class Limits:
    """Limits of one build; 0 is none.

    Attributes:
        silence: seconds without output (`max-silent-time`).
        duration: seconds in all (`timeout`).
        output: bytes (`max-build-log-size`).
        tail: how many of the last lines to keep (`log-lines`).
    """

    silence: int
    duration: int
    output: int
    tail: int


@record(frozen=True, slots=True)
class Ending:
    """How a builder ended.

    Attributes:
        status: its wait status.
        setup_failure: what could not be done before it was executed, None if it was.
        killed_for: SILENT, TOO_LONG, TOO_MUCH_OUTPUT or CANCELLED; None when it ended by itself.
        tail: its last lines.
    """

    status: int
    setup_failure: str | None
    killed_for: str | None
    tail: list[str]

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.status == 0 and self.setup_failure is None and self.killed_for is None

    def describe(self) -> str:
        """Say how it ended, in the words of Nix."""
        if os.WIFSIGNALED(self.status):
            import signal  # noqa: PLC0415

            number = os.WTERMSIG(self.status)
            return f"failed due to signal {number} ({signal.strsignal(number)})"
        return f"failed with exit code {os.WEXITSTATUS(self.status)}"


def run_builder(
    spawner: Spawner,
    plan: Plan,
    limits: Limits,
    log: BuildLog | None,
    on_line: Callable[[str], None],
    cancellation: Cancellation,
    owner: int | None,
) -> Ending:
    """Start a builder and stay with it until it has ended.

    Args:
        spawner: starts it.
        plan: how.
        limits: when to kill it.
        log: where its output goes.
        on_line: called with each line that it prints.
        cancellation: kills it when it is cancelled.
        owner: the uid that its terminal is given to, None to leave it.

    Raises:
        SandboxSetupError: the process that starts builders is gone.
    """
    terminal, end = _open_terminal(owner)
    try:
        child = spawner.spawn(plan, end)
    except BaseException:
        os.close(terminal)
        raise
    finally:
        os.close(end)
    follower = _Follower(child, terminal, limits, log, on_line, cancellation)
    try:
        return follower.run()
    finally:
        child.close()
        os.close(terminal)


def _open_terminal(owner: int | None) -> tuple[int, int]:
    terminal, end = os.openpty()
    if owner is not None:
        os.fchown(end, owner, -1)
        os.fchmod(end, 0o600)
    settings = termios.tcgetattr(end)
    # cfmakeraw(3): no translation of newlines, no echo, no signals.
    settings[0], settings[1], settings[3] = 0, 0, 0
    termios.tcsetattr(end, termios.TCSANOW, settings)
    os.set_blocking(terminal, False)
    return terminal, end


class _Follower:
    def __init__(
        self,
        child: Child,
        terminal: int,
        limits: Limits,
        log: BuildLog | None,
        on_line: Callable[[str], None],
        cancellation: Cancellation,
    ) -> None:
        self._child = child
        self._terminal = terminal
        self._limits = limits
        self._log = log
        self._on_line = on_line
        self._cancellation = cancellation
        self._splitter = LineSplitter()
        self._tail: list[str] = []
        self._printed = 0
        self._killed_for: str | None = None
        self._began = self._last_output = time.monotonic()

    def run(self) -> Ending:
        poll = select.poll()
        poll.register(self._terminal, select.POLLIN)
        poll.register(self._child.report, select.POLLIN)
        poll.register(self._cancellation, select.POLLIN)
        while True:
            ended = False
            for descriptor, _ in poll.poll(self._patience()):
                if descriptor == self._terminal:
                    if self._read_output() is None:
                        # As with Nix, a builder that closes its output has ended, and is ended if it has not.
                        poll.unregister(self._terminal)
                        self._child.kill()
                elif descriptor == self._child.report:
                    ended = self._child.read_report()
                else:
                    poll.unregister(self._cancellation)
                    self._kill(CANCELLED)
            if ended:
                break
            self._check_time()
        while self._read_output():
            pass
        self._lines(self._splitter.finish())
        status = self._child.status
        assert status is not None
        return Ending(status, self._child.failure, self._killed_for, self._tail)

    def _patience(self) -> float | None:
        """Return the milliseconds until a limit may be reached, None for ever."""
        deadlines = []
        if self._killed_for is None:
            if self._limits.silence:
                deadlines.append(self._last_output + self._limits.silence)
            if self._limits.duration:
                deadlines.append(self._began + self._limits.duration)
        return max(0.0, min(deadlines) - time.monotonic()) * 1000 + 1 if deadlines else None

    def _check_time(self) -> None:
        now = time.monotonic()
        if self._limits.silence and now >= self._last_output + self._limits.silence:
            self._kill(SILENT)
        elif self._limits.duration and now >= self._began + self._limits.duration:
            self._kill(TOO_LONG)

    def _kill(self, reason: str) -> None:
        if self._killed_for is None:
            self._killed_for = reason
            self._child.kill()

    def _read_output(self) -> bool | None:
        """Take in some output; False when there is none now, None when there never will be."""
        try:
            data = os.read(self._terminal, 65536)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.EIO:  # nobody has the other end open
                return None
            raise
        if not data:
            return None
        self._last_output = time.monotonic()
        self._printed += len(data)
        if self._limits.output and self._printed > self._limits.output:
            self._kill(TOO_MUCH_OUTPUT)
            return True
        if self._log is not None:
            self._log.write(data)
        self._lines(self._splitter.feed(data))
        return True

    def _lines(self, lines: list[str]) -> None:
        for line in lines:
            if line.startswith("@nix "):
                continue  # a structured message of the builder, as in a change of phase
            self._tail.append(line)
            if len(self._tail) > self._limits.tail:
                del self._tail[0]
            self._on_line(line)
