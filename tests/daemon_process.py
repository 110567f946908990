"""Our daemon as a process, and clients of it: for tests of any topic."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from storefs.formats.store_path import StoreDir
from storefs.protocol.worker_ops import NEWEST
from storefs.protocol.worker_values import ClientOptions
from storefs.stores.remote import RemoteStore
from storefs.stores.remote_connection import connect_unix

if TYPE_CHECKING:
    from collections.abc import Mapping

BIN = Path(sys.executable).parent
REAL = "/usr/bin"


class DaemonProcess:
    """`nix-daemon` of ours in an environment; a context manager that leaves no process and no mount.

    Attributes:
        env: the environment of its clients.
    """

    def __init__(self, environ: Mapping[str, str], settings: str = "") -> None:
        self.daemon_env = dict(environ)
        self.daemon_env["NIX_CONFIG"] = environ["NIX_CONFIG"] + settings
        self.env = dict(environ)
        self.env["NIX_CONFIG"] = "substituters =\nexperimental-features = nix-command\n"
        self.env["NIX_REMOTE"] = "daemon"
        self.socket_path = f"{environ['NIX_STATE_DIR']}/daemon-socket/socket"
        self.log_path = f"{environ['HOME']}/daemon.log"

    def __enter__(self) -> DaemonProcess:
        self.start()
        return self

    def start(self) -> None:
        """Start it and wait until it listens: the socket appears under its name only then."""
        try:
            before = os.stat(self.socket_path).st_ino
        except FileNotFoundError:
            before = 0
        # A file and not a pipe: what serves clients, or the mount, may live a little longer and hold it open.
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(BIN / "nix-daemon")], env=self.daemon_env, stderr=log, start_new_session=True
            )
        while self.process.poll() is None:
            try:
                if os.stat(self.socket_path).st_ino != before:
                    return
            except FileNotFoundError:
                pass
        raise AssertionError(f"the daemon did not start: {self.log}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(60)

    @property
    def log(self) -> str:
        """What it has said so far."""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def __exit__(self, *_: object) -> None:
        self.stop()
        subprocess.run([str(BIN / "verglas"), "umount"], env=self.daemon_env, capture_output=True, check=False)

    def real(self, program: str, *arguments: str, status: int | None = 0, **env: str) -> str:
        """Run a program of real Nix as a client, and return what it printed."""
        return self.client(f"{REAL}/{program}", *arguments, status=status, **env).stdout.strip()

    def client(
        self, program: str, *arguments: str, status: int | None = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run any program as a client; checks its exit status (None: any)."""
        done = subprocess.run(
            [program, *arguments], env={**self.env, **env}, capture_output=True, text=True, check=False, timeout=120
        )
        assert status is None or done.returncode == status, (
            f"{program} {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return done

    def store(self, version: int = NEWEST) -> RemoteStore:
        """Return the store as our own client sees it; to be closed."""
        directory = StoreDir(self.env["NIX_STORE_DIR"])
        return RemoteStore(
            "daemon", directory, lambda: connect_unix(self.socket_path), ClientOptions(), version=version
        )

    def served_by(self) -> list[int]:
        """The processes of ours that serve clients, and the one that listens: they have its state directory in their
        environment, whatever became of their parents."""
        wanted = f"NIX_STATE_DIR={self.env['NIX_STATE_DIR']}".encode()
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                if wanted in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    words = Path(f"/proc/{entry}/cmdline").read_bytes()
                    if b"nix-daemon" in words:
                        found.append(int(entry))
            except OSError:
                continue
        return found

    def kill(self) -> None:
        """End it and all who serve its clients with SIGKILL, at once."""
        for pid in self.served_by():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.stop(signal.SIGKILL)

    def connect(self) -> socket.socket:
        """Open a raw connection."""
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(self.socket_path)
        return channel
