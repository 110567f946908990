"""QMP, the protocol by which QEMU is controlled: one JSON object a line, over a unix socket (QEMU's qmp-spec.txt)."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from vmdriver.errors import VmTestError

if TYPE_CHECKING:
    from pathlib import Path


class QmpError(VmTestError):
    """QEMU refused a command."""


class Qmp:
    """A connection to one QEMU. Not for several threads.

    Blocks until QEMU answers; raises QmpError when it refuses, and OSError or QmpError when it is gone.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")
        self._receive()  # the greeting
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: object) -> Any:
        """Run one command and return what it answers."""
        message: dict[str, object] = {"execute": name}
        if arguments:
            message["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        while True:
            answer = self._receive()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise QmpError(f"QEMU refused '{name}': {answer['error']['desc']}")

    def monitor(self, line: str) -> str:
        """Run one command of the human monitor and return what it prints."""
        return str(self.command("human-monitor-command", command_line=line))

    def close(self) -> None:
        """End the connection."""
        self._lines.close()
        self._socket.close()

    def _receive(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise QmpError("QEMU has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer
