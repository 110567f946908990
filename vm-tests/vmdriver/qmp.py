"""QMP, the protocol by which QEMU is controlled: one JSON object a line, over a unix socket (QEMU's qmp-spec.txt)."""

from __future__ import annotations

import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from vmdriver.errors import VmTestError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class QmpError(VmTestError):
    """QEMU refused a command, or is gone."""


class Qmp:
    """A connection to one QEMU. Not for several threads.

    Blocks until QEMU answers; raises QmpError when it refuses or is gone, and TimeoutError.

    Args:
        channel: connected to QEMU's monitor; closed with this object.
        timeout: seconds that an answer may take.
    """

    def __init__(self, channel: socket.socket, timeout: float) -> None:
        self._socket = channel
        self._timeout = timeout
        self._buffer = b""
        self._events: deque[dict[str, Any]] = deque(maxlen=1000)
        self._receive(timeout)  # the greeting
        self.command("qmp_capabilities")

    def command(self, name: str, /, **arguments: object) -> Any:
        """Run one command and return what it answers. Underscores in the names of arguments are dashes."""
        message: dict[str, object] = {"execute": name}
        if arguments:
            message["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise QmpError("QEMU has ended") from error
        while True:
            answer = self._receive(self._timeout)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise QmpError(f"QEMU refused '{name}': {answer['error']['desc']}")
            self._events.append(answer)

    def monitor(self, line: str) -> str:
        """Run one command of the human monitor and return what it prints."""
        return str(self.command("human-monitor-command", command_line=line))

    def wait_for_event(self, wanted: Callable[[dict[str, Any]], bool], timeout: float) -> dict[str, Any]:
        """Return the next event that is `wanted`, passing over others. Those that came during commands count."""
        deadline = time.monotonic() + timeout
        while True:
            event = self._events.popleft() if self._events else self._receive(max(deadline - time.monotonic(), 0.001))
            if wanted(event):
                return event

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _receive(self, timeout: float) -> dict[str, Any]:
        self._socket.settimeout(timeout)
        while b"\n" not in self._buffer:
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                raise QmpError("QEMU has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer
