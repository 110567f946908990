"""A machine for tests: namespaces with a network device, a store of its own, and a real sshd.

It shares programs and files with this machine, except that the scratch directory of the test, with store and state in
it, is another one there. For root only, in a network namespace of the tests' own.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storefs.config import Config

BIN = Path(sys.executable).parent
SSHD = "/usr/sbin/sshd"
_TOOLS = ("ip", "ssh", "ssh-keygen", "unshare", "nsenter")


def why_no_machines() -> str | None:
    """Return why there can be none here, None if there can."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.access(SSHD, os.X_OK):
        return f"{SSHD} is not there (package openssh-server)"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"there is no {missing[0]}"
    probe = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "vgprobe", "type", "veth"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no virtual network devices: {probe.stderr.strip()}" if probe.returncode else None


class SshMachine:
    """A machine that can be reached as `address`. A context manager: at its end nothing of it is left.

    Args:
        number: 1 to 250, different for each.
        scratch: for keys and what the machine has on disk; there it is `folder`.
        config: whose directories, below `scratch`, have other contents there.
        settings: of its nix.conf.
    """

    def __init__(self, number: int, scratch: Path, config: Config, settings: str) -> None:
        self.address = f"10.91.{number}.2"
        self.folder = scratch / f"machine{number}"
        self.key = scratch / "key"
        self._scratch = scratch
        self._number = number
        self._config = config
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> SshMachine:
        self.folder.mkdir()
        for key in (self.key, self.folder / "host_key"):
            if not key.exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self._write_configuration()
        # Process 1 of the machine; it ends with whoever started it, and everything there with it.
        script = (
            f"set -e; mount --bind {self.folder} {self._scratch}; mount -t tmpfs tmpfs /run; mkdir /run/sshd;"
            f"read ready; ip link set lo up; ip address add {self.address}/30 dev eth0; ip link set eth0 up;"
            f"{SSHD} -D -e -f {self._scratch}/sshd_config"
        )
        namespaces = ["--net", "--mount", "--propagation", "private", "--pid", "--mount-proc", "--uts"]
        with (self.folder / "sshd.log").open("wb") as log:
            command = ["unshare", *namespaces, "--fork", "--kill-child", "sh", "-c", script]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log)
        self._init = self._first_process()
        device = f"vg{self._number}"
        for command in (
            f"link add {device} type veth peer name eth0 netns {self._init}",
            f"address add 10.91.{self._number}.1/30 dev {device}",
            f"link set {device} up",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        assert self._process.stdin is not None
        self._process.stdin.write(b"ready\n")
        self._process.stdin.close()
        self._wait_until_it_listens()
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        subprocess.run(["ip", "link", "delete", f"vg{self._number}"], capture_output=True, check=False)

    def line(self, scheme: str, *, jobs: int = 1, speed: str = "1", features: str = "-", systems: str = "-") -> str:
        """A line of `builders` for this machine, with its key and its host's."""
        public = (self.folder / "host_key.pub").read_text().rpartition(" ")[0]
        host_key = base64.b64encode(public.encode()).decode()
        return f"{scheme}://{self.address} {systems} {self.key} {jobs} {speed} {features} - {host_key}"

    def run(self, *command: str) -> str:
        """Run a command there and return what it printed, whatever its status."""
        words = ["nsenter", "-t", str(self._init), "-m", "-n", "-p", "env", *self._variables(), *command]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout

    def processes(self, pattern: str) -> list[str]:
        """The processes there whose command lines contain `pattern`."""
        return [line for line in self.run("ps", "-ww", "-eo", "args").splitlines() if pattern in line]

    def stop_listening(self) -> None:
        """Make it unreachable, as if its cable was pulled."""
        subprocess.run(["ip", "link", "set", f"vg{self._number}", "down"], check=True)

    def _variables(self) -> list[str]:
        wanted = ("NIX_STORE_DIR", "NIX_STATE_DIR", "NIX_LOG_DIR", "LC_ALL")
        found = {name: self._config.variable(name) for name in wanted}
        found["NIX_CONF_DIR"] = str(self._scratch)
        found["PATH"] = f"{BIN}:/usr/bin:/bin:/usr/sbin:/sbin"
        return [f"{name}={value}" for name, value in found.items()]

    def _write_configuration(self) -> None:
        (self.folder / "nix.conf").write_text(self._settings)
        shutil.copy(f"{self.key}.pub", self.folder / "authorized_keys")
        (self.folder / "sshd_config").write_text(
            f"ListenAddress {self.address}\nHostKey {self._scratch}/host_key\n"
            f"AuthorizedKeysFile {self._scratch}/authorized_keys\n"
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n"
            f"SetEnv {' '.join(self._variables())}\n"
        )

    def _first_process(self) -> int:
        """The shell, as this namespace sees it."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        deadline = time.monotonic() + 30
        while not (found := children.read_text().split()):
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            os.sched_yield()
        return int(found[0])

    def _wait_until_it_listens(self) -> None:
        log = self.folder / "sshd.log"
        deadline = time.monotonic() + 30
        while "Server listening" not in log.read_text():
            assert self._process is not None
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            os.sched_yield()
