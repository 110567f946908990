"""Starts builders through the server of `enter.py`, and tells how they ended.

`Spawner` is made once per builder object and may be used from several threads. It does not read the builder's output
and knows no store. Blocking: `spawn` for a fraction of a millisecond, `close` until every child is gone.
"""

from __future__ import annotations

import _socket  # `socket` and `threading` take longer to import than a small build takes
import marshal
import os
import struct
import sys
from _thread import allocate_lock

from storefs.errors import EnvironmentUnfitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.sandbox.plan import Plan
    from storefs.config import Config

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_MOUNTED_PROGRAM = f"import sys; sys.path.insert(0, {_ROOT!r}); from builder.sandbox.mounted import main; main()"
_PROGRAM = f"import sys; sys.path.append({_ROOT!r}); from builder.sandbox.enter import serve; serve()"


class SandboxSetupError(EnvironmentUnfitError):
    """A builder could not be started: a step of its plan failed."""


class Child:
    """A builder that was started.

    Attributes:
        report: a descriptor that becomes readable when there is news, see `read_report`.
        pid: the process on the host, None until it is known.
        failure: which step failed and why, None while none did.
        status: its wait status once it has ended (os.waitstatus_to_exitcode), None before.
    """

    def __init__(self, spawner: Spawner, number: int, report: int) -> None:
        self._spawner = spawner
        self._number = number
        self._rest = b""
        self.report = report
        self.pid: int | None = None
        self.failure: str | None = None
        self.status: int | None = None

    def read_report(self) -> bool:
        """Take in the news that made `report` readable; True when the child has ended and nothing more will come."""
        data = os.read(self.report, 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line[:1] == b"P":
                self.pid = int(line[1:])
            elif line[:1] == b"E":
                self.failure = line[1:].decode(errors="replace").strip()
            elif line[:1] == b"S":
                self.status = int(line[1:])
        if not data and self.status is None:
            self.status = 9  # the server was killed, and its children with it
        return self.status is not None

    def kill(self) -> None:
        """Kill it and every process in its namespace; the report tells when it is gone."""
        self._spawner.kill(self._number)

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.report)


class Spawner:
    """The main process's side of the server. Starts it at once, so that it is up when the first build is.

    Args:
        config: for an ordinary user whose store is not mounted where everybody sees it: the server then lives in a
            namespace in which it is. None leaves it in this process's namespaces.

    Attributes:
        mounted_store: where the server's builders find the store, '' without `config`.

    Raises:
        SandboxSetupError: the store can't be mounted.
    """

    def __init__(self, config: Config | None = None) -> None:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._control = ours
        self._lock = allocate_lock()
        self._last = 0
        self.mounted_store = ""
        try:
            # The standard descriptors stay, for tracebacks of the server itself.
            actions: list[tuple[int, int, int]] = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)]
            if config is None:
                arguments = [sys.executable, "-I", "-S", "-c", _PROGRAM]
                self._pid = self._start(arguments, actions, {"PATH": "/usr/bin:/bin"})
                return
            import pickle  # noqa: PLC0415  only ordinary users without a mount

            pickled = os.memfd_create("config", os.MFD_CLOEXEC)
            with open(pickled, "r+b") as file:
                pickle.dump(config, file)
                file.seek(0)
                actions.append((os.POSIX_SPAWN_DUP2, pickled, 4))
                arguments = [sys.executable, "-c", _MOUNTED_PROGRAM, _ROOT]
                self._pid = self._start(arguments, actions, config.environment())
        finally:
            theirs.close()
        answer = self._control.recv(65536)
        kind, text = marshal.loads(answer) if answer else ("failed", "the process that mounts the store ended")
        if kind == "failed":
            self.close()
            raise SandboxSetupError(text)
        self.mounted_store = text

    @staticmethod
    def _start(arguments: list[str], actions: list[tuple[int, int, int]], environment: dict[str, str]) -> int:
        return os.posix_spawn(sys.executable, arguments, environment, file_actions=actions, setsid=True)

    def spawn(self, plan: Plan, output: int) -> Child:
        """Start a builder whose standard output and error are the descriptor `output`.

        Raises:
            SandboxSetupError: the server is gone.
        """
        encoded = os.memfd_create("plan", os.MFD_CLOEXEC)
        report, report_end = os.pipe2(os.O_CLOEXEC)
        try:
            with open(encoded, "wb", closefd=False) as file:
                file.write(plan.encoded())
            with self._lock:
                self._last += 1
                number = self._last
            request = marshal.dumps(("spawn", number, plan.namespaces))
            descriptors = struct.pack("3i", encoded, output, report_end)
            self._control.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)])
        except OSError as error:
            os.close(report)
            raise SandboxSetupError(f"the process that starts builders is gone: {error}") from error
        finally:
            os.close(encoded)
            os.close(report_end)
        return Child(self, number, report)

    def kill(self, number: int) -> None:
        """Kill the child with this number; nothing happens if it has ended."""
        try:
            self._control.send(marshal.dumps(("kill", number)))
        except OSError:
            pass  # the server is gone, and its children with it

    def close(self) -> None:
        """End the server and every child that still runs, and wait for that."""
        self._control.close()
        os.waitpid(self._pid, 0)
