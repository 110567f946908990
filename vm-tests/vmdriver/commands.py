"""Shell commands in a machine: run, awaited, and what can be waited for with them.

Waiting happens inside the machine, by an agent that tries again after 20 to 200 ms, not by asking once a second from
here. This is the ground that the other parts of a machine's API stand on.
"""

from __future__ import annotations

import shlex
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from vmdriver.errors import MachineError, RequestedAssertionFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vmdriver.agent import Agent
    from vmdriver.qemu import Qemu

TIMEOUT = 900  # seconds, as in the NixOS driver


def retry(fn: Callable[[bool], bool], timeout_seconds: float = TIMEOUT) -> None:
    """Call `fn(last_attempt)` until it returns True, as the NixOS driver has it for scripts.

    Raises:
        RequestedAssertionFailed: it did not within `timeout_seconds`.
    """
    begun = time.monotonic()
    while time.monotonic() < begun + timeout_seconds:
        if fn(False):
            return
        time.sleep(0.1)
    if not fn(True):
        elapsed = time.monotonic() - begun
        raise RequestedAssertionFailed(f"action timed out after {elapsed:.2f} seconds (timeout={timeout_seconds})")


class Commands(ABC):
    """The methods of a machine that are shell commands in it."""

    name: str
    out_dir: Path

    @abstractmethod
    def connect(self) -> None:
        """Wait until it runs commands."""

    @abstractmethod
    def log(self, msg: str) -> None:
        """Write a line into the log."""

    @abstractmethod
    def nested(self, msg: str, attrs: dict[str, str] | None = None) -> AbstractContextManager[None]:
        """Everything that is logged in this context belongs under `msg`."""

    @abstractmethod
    def console_tail(self) -> list[str]:
        """Return the last lines of the console, for messages."""

    @abstractmethod
    def run_callbacks(self) -> None:
        """Check what a test wants to hold all the time."""

    @property
    @abstractmethod
    def agent(self) -> Agent:
        """The agent of the running machine."""

    @property
    @abstractmethod
    def qemu(self) -> Qemu:
        """The running QEMU; the machine is switched on if it is not yet."""

    def execute(
        self, command: str, check_return: bool = True, check_output: bool = True, timeout: int | None = TIMEOUT
    ) -> tuple[int, str]:
        """Run a shell command under `set -euo pipefail`; returns its exit status and its standard output.

        Without `check_output` it is started and not waited for: -2. Without `check_return` the status is -1.
        """
        self.run_callbacks()
        self.connect()
        if not check_output:
            self.agent.start(command)
            return -2, ""
        status, output = self.agent.run(command, timeout)
        return (status if check_return else -1), output

    def succeed(self, *commands: str, timeout: int | None = None) -> str:
        """Run commands that must succeed, and return what they wrote to standard output."""
        output = ""
        for command in commands:
            with self.nested(f"must succeed: {command}"):
                status, text = self.execute(command, timeout=timeout)
                if status:
                    self.log(f"output: {text}")
                    message = f"command `{command}` failed (exit code {status})"
                    raise RequestedAssertionFailed(f"{self.name}: {message}", self._evidence(text))
                output += text
        return output

    def fail(self, *commands: str, timeout: int | None = None) -> str:
        """Run commands that must fail, and return what they wrote to standard output."""
        output = ""
        for command in commands:
            with self.nested(f"must fail: {command}"):
                status, text = self.execute(command, timeout=timeout)
                if not status:
                    message = f"command `{command}` unexpectedly succeeded"
                    raise RequestedAssertionFailed(f"{self.name}: {message}", self._evidence(text))
                output += text
        return output

    def wait_until_succeeds(self, command: str, timeout: int = TIMEOUT) -> str:
        """Repeat a command until it succeeds, and return what it wrote then."""
        return self.wait_until(command, timeout, succeeds=True)

    def wait_until_fails(self, command: str, timeout: int = TIMEOUT) -> str:
        """Repeat a command until it fails, and return what it wrote then."""
        return self.wait_until(command, timeout, succeeds=False)

    def wait_for_file(self, filename: str, timeout: int = TIMEOUT) -> None:
        """Wait until a file is there. As in a shell, `filename` may be a pattern."""
        self.wait_until(f"test -e {filename}", timeout, succeeds=True, what=f"file '{filename}'")

    def wait_for_open_port(self, port: int, addr: str = "localhost", timeout: int = TIMEOUT) -> None:
        """Wait until something listens on a TCP port."""
        self.wait_until(_connects(addr, port), timeout, succeeds=True, what=f"TCP port {port} on {addr}")

    def wait_for_closed_port(self, port: int, addr: str = "localhost", timeout: int = TIMEOUT) -> None:
        """Wait until nothing listens on a TCP port."""
        self.wait_until(_connects(addr, port), timeout, succeeds=False, what=f"TCP port {port} on {addr} to be closed")

    def wait_for_open_unix_socket(self, addr: str, is_datagram: bool = False, timeout: int = TIMEOUT) -> None:
        """Wait until something listens on a unix socket."""
        path = shlex.quote(addr)
        kind = "SOCK_DGRAM" if is_datagram else "SOCK_STREAM"
        connect = f"import socket, sys; socket.socket(socket.AF_UNIX, socket.{kind}).connect(sys.argv[1])"
        # proc(5), net/unix: slot, reference count, protocol, flags (__SO_ACCEPTCON), type, state, inode, path as bound
        wanted = '$5 == "0002"' if is_datagram else '$5 == "0001" && $4 == "00010000"'
        listed = f"awk -v path={path} '$8 == path && {wanted} {{ found = 1 }} END {{ exit !found }}' /proc/net/unix"
        # netcat can do it in some systems, Python in others
        tries = [f"nc -z{'u' if is_datagram else ''}U {path}", f"python3 -c {shlex.quote(connect)} {path}", listed]
        ask = " || ".join(f"{each} 2>/dev/null" for each in tries)
        self.wait_until(ask, timeout, succeeds=True, what=f"the unix socket '{addr}'")

    def sleep(self, secs: int) -> None:
        """Sleep in the machine's time."""
        self.succeed(f"sleep {secs}")

    def wait_until(self, command: str, timeout: float, *, succeeds: bool, what: str = "") -> str:
        """Repeat a command inside the machine until it succeeds, or fails, and return what it wrote then."""
        self.run_callbacks()
        what = what or f"command `{command}` to {'succeed' if succeeds else 'fail'}"
        with self.nested(f"waiting for {what}"):
            self.connect()
            status, text = self.agent.wait_until(command, timeout, succeeds=succeeds)
            if status:
                message = f"timed out after {timeout} seconds waiting for {what}"
                raise MachineError(self.name, message, self._evidence(text))
            return text

    def _evidence(self, output: str) -> list[str]:
        """Return what to show beneath a message: what the command wrote, and the end of the console."""
        return output.splitlines()[-20:] + self.console_tail()


def _connects(addr: str, port: int) -> str:
    """The shell command that succeeds if something listens; not every busybox has `nc -z`."""
    target = f"{shlex.quote(addr)} {port}"
    return f"nc -z {target} 2>/dev/null || nc -w 1 {target} </dev/null >/dev/null 2>&1"
