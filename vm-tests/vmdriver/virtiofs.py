"""A directory of the host as a file system of a machine, by virtiofs: a process `virtiofsd` for each.

There are two programs of that name. QEMU's, which Debian 12 has, needs root; the other one does not. `Hardware.shares`
is 9p, which needs nothing but QEMU.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

from vmdriver.errors import MissingProgramError

if TYPE_CHECKING:
    from pathlib import Path

_PLACES = "/usr/libexec:/usr/lib/qemu:/usr/lib/kvm"  # it is no command


def find_virtiofsd() -> str:
    """Return the program.

    Raises:
        MissingProgramError: it is not installed.
    """
    program = shutil.which("virtiofsd", path=f"{_PLACES}:{os.environ.get('PATH', '')}")
    if program is None:
        raise MissingProgramError("virtiofsd", "virtiofsd")
    return program


def why_no_virtiofs() -> str | None:
    """Return why directories can't be shared by virtiofs here, None if they can."""
    try:
        program = find_virtiofsd()
    except MissingProgramError as error:
        return str(error)
    if os.geteuid() and "qemu" in program:
        return f"'{program}' needs root"
    return None


class Virtiofsd:
    """Serves one directory to one machine.

    Args:
        directory: what is shown. Machines should mount it read-only: nothing here keeps them from writing.
        path: where the socket is made that QEMU connects to.
        log: where it writes its messages.
    """

    def __init__(self, directory: Path, path: Path, log: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener, log.open("wb") as messages:
            listener.bind(str(path))
            listener.listen()
            command = [find_virtiofsd(), f"--fd={listener.fileno()}", "-o", f"source={directory}", "-o", "cache=always"]
            self._process = subprocess.Popen(
                [*guard(), *command],
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=messages,
                start_new_session=True,
                pass_fds=[listener.fileno()],
            )

    def close(self) -> None:
        """End it, if its machine's end has not done so."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def guard() -> list[str]:
    """Return what to put before a command for it to end with this process: setpriv, for PR_SET_PDEATHSIG."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
