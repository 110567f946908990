"""A program on another machine, spoken to over its standard input and output by ssh: the way to remote stores.

`ssh://HOST` and `ssh-ng://HOST` differ in the program and in what it speaks. As with Nix, HOST `localhost` means a
child process without ssh, which is what tests use. Sources: ssh(1), and the section "ssh store" of Nix's manual.
"""

from __future__ import annotations

import os
import shlex

from storefs.errors import StoreError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from subprocess import Popen

    from storefs.config import Config

    Channel = tuple[Iterable[bytes], Callable[[bytes], object], Callable[[], object]]

_RECEIVE = 64 << 10


class SshUnreachableError(StoreError):
    """The program on the other machine did not start, or ended."""


class SshMaster:
    """How to start programs on one machine.

    Args:
        config: the environment of ssh.
        uri: `ssh://[USER@]HOST[:PORT]`, with parameters.
        key: a file with a private key, '' for none.
        host_key: the machine's public key in base 64, '' for what ssh knows of it.
    """

    def __init__(self, config: Config, uri: str, key: str = "", host_key: str = "") -> None:
        base, _, query = uri.partition("?")
        scheme, separator, host = base.partition("://")
        if not separator or not host or host.lstrip("[").startswith("-"):
            raise UsageError(f"invalid SSH host in '{uri}'")
        self.uri = base
        self.scheme = scheme
        self.host = host.rstrip("/")
        self.parameters = _parameters(query)
        self._config = config
        self._started: list[Popen[bytes]] = []
        self._key = key or self.parameters.get("ssh-key", "")
        self._host_key = host_key or self.parameters.get("base64-ssh-public-host-key", "")

    def connect(self, program: list[str], log: Callable[[bytes], object] | None = None) -> Channel:
        """Start a program there and return a stream to it.

        Args:
            program: its command line.
            log: given what it prints on standard error, in pieces, on a thread; None leaves that to ours.

        Raises:
            SshUnreachableError: ssh can't be started.
        """
        import subprocess  # noqa: PLC0415  5 ms, for who talks to other machines

        command, known_hosts = self._command(program)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if log is None else subprocess.PIPE,
                env=self._config.environment(),
                bufsize=0,
            )
        except OSError as error:
            _remove(known_hosts)
            raise SshUnreachableError(f"cannot start '{command[0]}': {error.strerror}") from error
        self._started.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        source, sink = process.stdout, process.stdin
        if log is not None:
            from _thread import start_new_thread  # noqa: PLC0415

            errors = process.stderr
            assert errors is not None

            def pass_on() -> None:
                while data := os.read(errors.fileno(), _RECEIVE):
                    log(data)
                errors.close()

            start_new_thread(pass_on, ())

        def send(data: bytes) -> None:
            view = memoryview(data)
            while view:
                view = view[os.write(sink.fileno(), view) :]

        def close() -> None:
            sink.close()
            source.close()
            process.terminate()
            process.wait()
            self._started.remove(process)
            _remove(known_hosts)

        return iter(lambda: os.read(source.fileno(), _RECEIVE), b""), send, close

    def hand_over(self, program: list[str]) -> int:
        """Run a program there with the standard input, output and error of this process; return its exit status.

        Raises:
            SshUnreachableError: ssh can't be started.
        """
        import subprocess  # noqa: PLC0415  see `connect`

        command, known_hosts = self._command(program)
        try:
            return subprocess.run(command, env=self._config.environment(), check=False).returncode
        except OSError as error:
            raise SshUnreachableError(f"cannot start '{command[0]}': {error.strerror}") from error
        finally:
            _remove(known_hosts)

    def abort(self) -> None:
        """End all programs that were started, from any thread; who waits for an answer finds the end instead."""
        for process in list(self._started):
            process.terminate()

    def _known_hosts(self) -> str:
        """Write the one host key that is accepted to a file, for ssh(1); '' if there is none."""
        if not self._host_key:
            return ""
        import base64  # noqa: PLC0415
        import binascii  # noqa: PLC0415
        import tempfile  # noqa: PLC0415

        try:
            key = base64.b64decode(self._host_key, validate=True)
        except binascii.Error:
            raise UsageError(f"the public host key of '{self.uri}' is not in base 64") from None
        host, port = self._host_and_port()
        name = host.rpartition("@")[2]
        descriptor, path = tempfile.mkstemp(prefix="verglas-host-key-")
        with open(descriptor, "wb") as file:
            file.write((f"[{name}]:{port} " if port else f"{name} ").encode() + key + b"\n")
        return path

    def _host_and_port(self) -> tuple[str, str]:
        host, _, port = self.host.rpartition(":")
        if not host or not port.isdigit() or self.host.endswith("]"):
            host, port = self.host, ""
        return host.strip("[]"), port

    def _command(self, program: list[str]) -> tuple[list[str], str]:
        """What to start for a program there, and a file that goes when it has ended, or ''."""
        if self.host == "localhost":
            return program, ""
        known_hosts = self._known_hosts()
        return self._ssh_command(program, known_hosts), known_hosts

    def _ssh_command(self, program: list[str], known_hosts: str) -> list[str]:
        host, port = self._host_and_port()
        command = ["ssh", host, "-x", "-a"]
        if known_hosts:
            command += ["-o", f"UserKnownHostsFile={known_hosts}"]
        if port:
            command += ["-p", port]
        if self._key:
            command += ["-i", self._key]
        if self.parameters.get("compress") == "true":
            command.append("-C")
        # What the user sets wins over what a machine's line says, as with Nix.
        command += shlex.split(self._config.variable("NIX_SSHOPTS"))
        command += ["-oBatchMode=yes"] if not os.isatty(2) else []
        return [*command, "--", shlex.join(program)]


def _remove(path: str) -> None:
    if path:
        os.unlink(path)


def _parameters(query: str) -> dict[str, str]:
    """Read the parameters of a store's URI; the value of `remote-store` may itself have some."""
    if not query:
        return {}
    from urllib.parse import unquote  # noqa: PLC0415

    found = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        found[name] = unquote(value)
    return found
