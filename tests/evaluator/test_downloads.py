"""What evaluations download over HTTP: with retries and credentials, and from before where nothing newer can be had."""

from __future__ import annotations

import base64
import re
import socket
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.conftest import BIN
from tests.http_server import Fault, HttpServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Runner

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer({"/file": b"content" * 1000}) as server:
        yield server


def fetch(run: Runner, server: HttpServer, *options: str, status: int = 0) -> tuple[str, str]:
    """Evaluate the file's beginning; returns it and what was said."""
    expression = f'builtins.substring 0 7 (builtins.readFile (builtins.fetchurl "{server.url}/file"))'
    done = run("nix-instantiate", "--eval", "-E", expression, *options, status=status)
    return done.stdout.strip(), done.stderr


def test_a_server_that_recovers(run: Runner, server: HttpServer) -> None:
    server.faults["/file"] = Fault(status=503, times=2)
    value, said = fetch(run, server)
    assert value == '"content"'
    assert re.sub("[0-9]+ ms", "N ms", said) == 2 * (
        f"warning: unable to download '{server.url}/file': HTTP error 503; retrying in N ms\n"
    )
    assert server.targets == ["/file"] * 3


@pytest.mark.parametrize("verb", ["fetchurl", "fetchTarball"])
def test_a_closed_port_is_told_at_once_as_the_failure_that_it_is(run: Runner, verb: str) -> None:
    """How often it is knocked at: tests/storefs/http_client/test_client.py."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.tar.gz"
    said = run("nix-instantiate", "--eval", "-E", f'builtins.{verb} "{url}"', status=1).stderr.splitlines()
    assert said[0] == f"error: unable to download '{url}': can't connect to 127.0.0.1: Connection refused"
    assert not any("retrying" in line for line in said)


def test_a_name_without_an_address_is_looked_up_once(run: Runner) -> None:
    said = run("nix-instantiate", "--eval", "-E", 'builtins.fetchurl "http://no.such.host.invalid/x"', status=1).stderr
    assert said.startswith("error: unable to download 'http://no.such.host.invalid/x': no.such.host.invalid: ")


def test_who_waits_is_told_for_what(run: Runner, server: HttpServer, environ: dict[str, str]) -> None:
    terminal = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:], stdin_read=lambda fd: b''))"
    expression = f'builtins.substring 0 7 (builtins.readFile (builtins.fetchurl "{server.url}/file"))'
    words = [sys.executable, "-c", terminal, BIN / "nix-instantiate", "--eval", "-E", expression]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"downloading '{server.url}/file'...", '"content"']


def test_a_transfer_that_breaks_off_is_continued(run: Runner, server: HttpServer) -> None:
    server.faults["/file"] = Fault(cut=3000, times=1)
    value, said = fetch(run, server)
    assert value == '"content"'
    assert len(said.splitlines()) == 1, "it is told"
    assert server.log[1][2]["range"] == "bytes=3000-"


def test_who_gives_up(run: Runner, server: HttpServer) -> None:
    server.faults["/file"] = Fault(cut=10)
    said = fetch(run, server, "--option", "download-attempts", "1", status=1)[1]
    assert said.startswith(f"error: unable to download '{server.url}/file': ")
    server.faults["/file"] = Fault(status=404)
    assert f"unable to download '{server.url}/file': HTTP error 404" in fetch(run, server, status=1)[1]
    assert server.targets == ["/file"] * 2


def test_passwords_of_netrc(run: Runner, server: HttpServer, scratch: Path) -> None:
    (scratch / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    assert fetch(run, server, "--option", "netrc-file", str(scratch / "netrc"))[0] == '"content"'
    assert server.log[0][2]["authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()


def test_what_was_downloaded_before_counts_where_nothing_newer_can_be_had(
    run: Runner, server: HttpServer, scratch: Path
) -> None:
    (scratch / "tree").mkdir()
    (scratch / "tree/default.nix").write_text("1")
    with tarfile.open(scratch / "tree.tar.gz", "w:gz") as archive:
        archive.add(scratch / "tree", "tree")
    server.files["/tree.tar.gz"] = (scratch / "tree.tar.gz").read_bytes()
    path = ("-I", f"found={server.url}/tree.tar.gz")
    command = ("nix-instantiate", "--eval", "-E", "import <found>", "--read-write-mode", *path)
    assert run(*command).stdout == "1\n"
    server.faults["/tree.tar.gz"] = Fault(status=404)
    done = run(*command, "--option", "tarball-ttl", "0")
    assert done.stdout == "1\n"
    assert done.stderr == (
        f"warning: unable to download '{server.url}/tree.tar.gz': HTTP error 404; using what was downloaded before\n"
    )
    assert run(*command, "--offline").stderr == ""
    (remembered,) = (scratch / "home/.cache/verglas/downloads").iterdir()
    remembered.unlink()
    assert "HTTP error 404" in run(*command, status=1).stderr


@pytest.mark.root
def test_a_full_disk_is_named(run: Runner, server: HttpServer, scratch: Path) -> None:
    (scratch / "small").mkdir()
    server.files["/large"] = b"x" * 100_000
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", scratch / "small"], check=True)
    try:
        for url in (f"{server.url}/large", f"file://{scratch}/large"):
            (scratch / "large").write_bytes(server.files["/large"])
            expression = f'builtins.fetchurl "{url}"'
            said = run("nix-instantiate", "--eval", "-E", expression, status=1, TMPDIR=f"{scratch}/small").stderr
            wanted = f"unable to download '{url}': no space left in '{scratch}/small'; TMPDIR can name a directory on"
            assert said.startswith(f"error: {wanted}")
    finally:
        subprocess.run(["umount", scratch / "small"], check=True)
