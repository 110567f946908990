"""The host's end of the conversation with the agent inside a machine (`agent.sh`), over virtio-serial."""

from __future__ import annotations

import base64
import os
import selectors
import threading
from typing import TYPE_CHECKING

from vmdriver.errors import VmTestError

if TYPE_CHECKING:
    import socket

_SLACK = 15  # seconds that a guest may need beyond a command's own time limit
_SHELL_ENDED = b"[the shell has ended]\n"  # agent.sh says so


class AgentLostError(VmTestError):
    """The agent does not answer: the machine has crashed, is shutting down, or hangs."""


class Agent:
    """Runs commands in one machine, one at a time. The sockets belong to the caller.

    Args:
        control: the port for requests.
        data: the port for files.
    """

    def __init__(self, control: socket.socket, data: socket.socket) -> None:
        self._control = control
        self._data = data
        self._buffer = b""
        self._lock = threading.Lock()

    def wait_ready(self, timeout: float | None) -> None:
        """Wait until the agent has started."""
        with self._lock:
            while self._line(timeout) != b"ready":
                pass

    def run(self, command: str, timeout: float | None = None) -> tuple[int, str]:
        """Run a shell command; returns its exit status and what it wrote to standard output. 124: out of time."""
        return self._ask("run", 0 if timeout is None else max(1, round(timeout)), command, timeout)

    def start(self, command: str) -> None:
        """Run a shell command in the background, its output on the console."""
        self._ask("start", 0, command, _SLACK)

    def wait_until(self, command: str, timeout: float, *, succeeds: bool) -> tuple[int, str]:
        """Run a shell command again and again inside the machine until it succeeds, or fails; status 0 if it did."""
        return self._ask("succeed" if succeeds else "fail", max(1, round(timeout)), command, timeout)

    def put(self, content: bytes, path: str) -> int:
        """Write a file; returns the status of writing it."""
        with self._lock:
            sender = threading.Thread(target=self._data.sendall, args=(content,), daemon=True)
            self._send("receive", len(content), path)
            sender.start()
            status = self._answer(None)[0]
            sender.join()
            return status

    def get(self, path: str) -> bytes | None:
        """Read a file, None if it can't be read."""
        with self._lock:
            self._send("size", 0, path)
            status, text = self._answer(_SLACK)
            if status:
                return None
            left = int(text)
            self._send("send", 0, path)
            parts = []
            self._data.settimeout(_SLACK)
            while left:
                part = self._data.recv(min(left, 1 << 20))
                if not part:
                    raise AgentLostError("the machine went away while it sent a file")
                parts.append(part)
                left -= len(part)
            self._answer(_SLACK)
            self._data.settimeout(None)
            return b"".join(parts)

    def interact(self, read: int, write: int) -> None:
        """Connect a shell to two descriptors, such as a terminal's, until the shell ends. Their end ends the shell."""
        with self._lock:
            self._send("interact", 0, "")
            tail = b""
            with selectors.PollSelector() as selector:  # epoll refuses regular files
                selector.register(read, selectors.EVENT_READ)
                selector.register(self._data, selectors.EVENT_READ)
                while not tail.endswith(_SHELL_ENDED):
                    for key, _ in selector.select():
                        if key.fileobj is self._data:
                            data = self._data.recv(1 << 16)
                            if not data:
                                raise AgentLostError("the machine has ended")
                            os.write(write, data)
                            tail = (tail + data)[-len(_SHELL_ENDED) :]
                        elif typed := os.read(read, 1 << 16):
                            self._data.sendall(typed)
                        else:
                            selector.unregister(read)
                            self._data.sendall(b"\nexit\n")
            self._answer(_SLACK)

    def _ask(self, verb: str, seconds: int, command: str, timeout: float | None) -> tuple[int, str]:
        with self._lock:
            self._send(verb, seconds, command)
            return self._answer(None if timeout is None else timeout + _SLACK)

    def _send(self, verb: str, number: int, text: str) -> None:
        payload = base64.b64encode(text.encode()).decode()
        try:
            self._control.sendall(f"{verb} {number} {payload}\n".encode())
        except OSError as error:
            raise AgentLostError("the machine is not running") from error

    def _answer(self, timeout: float | None) -> tuple[int, str]:
        while True:
            status, _, payload = self._line(timeout).partition(b" ")
            if status != b"ready":
                return int(status), base64.b64decode(payload).decode("utf-8", "replace")

    def _line(self, timeout: float | None) -> bytes:
        self._control.settimeout(timeout)
        while b"\n" not in self._buffer:
            try:
                data = self._control.recv(1 << 16)
            except TimeoutError:
                raise AgentLostError("no answer within the time limit") from None
            except OSError as error:
                raise AgentLostError("the machine is not running") from error
            if not data:
                raise AgentLostError("the machine has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line
