"""How other machines are reached: the command line of ssh, and a stream to what it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from storefs.config import load_config
from storefs.errors import UsageError
from storefs.formats.store_path import StoreDir
from storefs.stores.serve import ServeStore
from storefs.stores.ssh import SshMaster, SshUnreachableError

if TYPE_CHECKING:
    from pathlib import Path

    from storefs.config import Config

# Notes its arguments and runs the command here, as sshd would there: in a shell.
SSH = """#!/bin/sh
for word; do echo "$word"; done > "$0.arguments"
while [ "$1" != -- ]; do shift; done
shift
exec sh -c "$*"
"""


@pytest.fixture
def ssh(environ: dict[str, str], scratch: Path) -> Path:
    """A program called ssh, first on PATH."""
    folder = scratch / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(SSH)
    (folder / "ssh").chmod(0o755)
    environ["PATH"] = f"{folder}:{environ['PATH']}"
    return folder / "ssh.arguments"


def say(config: Config, uri: str, *program: str, key: str = "") -> bytes:
    """Start a program on a machine, give it a line, and return what it says."""
    received, send, close = SshMaster(config, uri, key).connect(list(program))
    try:
        send(b"hello\n")
        return next(iter(received))
    finally:
        close()


@pytest.mark.parametrize(
    ("uri", "key", "expected"),
    [
        ("ssh://host", "", ["host"]),
        ("ssh-ng://me@host:2222", "/key", ["me@host", "-p", "2222", "-i", "/key"]),
        ("ssh://host?ssh-key=/other&compress=true", "", ["host", "-i", "/other", "-C"]),
        ("ssh://[::1]:22", "", ["::1", "-p", "22"]),
    ],
)
def test_the_command_line_says_who_where_and_with_which_key(
    environ: dict[str, str], ssh: Path, uri: str, key: str, expected: list[str]
) -> None:
    environ["NIX_SSHOPTS"] = "-oPort=1 '-oIdentityFile=a b'"
    assert say(load_config(environ), uri, "cat", key=key) == b"hello\n"
    words = [word for word in ssh.read_text().splitlines() if word not in {"-x", "-a", "-oBatchMode=yes"}]
    assert words == [*expected, "-oPort=1", "-oIdentityFile=a b", "--", "cat"]


def test_arguments_survive_the_shell_of_the_other_side(environ: dict[str, str], ssh: Path) -> None:
    # It reads what is sent to it, so that it is still there when that comes.
    script = 'printf "%s|%s" "$1" "$2"; cat >/dev/null'
    assert say(load_config(environ), "ssh://host", "sh", "-c", script, "sh", "a b", "$HOME'\"") == b"a b|$HOME'\""


def test_localhost_needs_no_ssh(config: Config) -> None:
    assert say(config, "ssh://localhost", "cat") == b"hello\n"


@pytest.mark.parametrize("uri", ["ssh://", "host", "ssh://-oProxyCommand=evil", "ssh://[-oProxyCommand=evil]"])
def test_what_is_no_host_is_refused(config: Config, uri: str) -> None:
    with pytest.raises(UsageError, match="invalid SSH host"):
        SshMaster(config, uri)


def test_a_program_that_is_not_there_is_named(config: Config) -> None:
    with pytest.raises(SshUnreachableError, match="cannot start '/nonesuch'"):
        SshMaster(config, "ssh://localhost").connect(["/nonesuch"])


def test_parameters_may_have_parameters(config: Config) -> None:
    master = SshMaster(config, "ssh://localhost?remote-store=/x?system-features=a%20b&remote-program=p")
    assert master.parameters == {"remote-store": "/x?system-features=a b", "remote-program": "p"}


def test_somebody_who_speaks_something_else_is_no_store(config: Config) -> None:
    master = SshMaster(config, "ssh://localhost")
    for program in (["echo", "this is not the serve protocol"], ["true"]):
        with pytest.raises(Exception, match="cannot connect to 'ssh://localhost'"):
            ServeStore("ssh://localhost", StoreDir(config.store_dir), lambda program=program: master.connect(program))
