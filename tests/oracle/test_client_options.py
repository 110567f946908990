"""What our clients tell a daemon of their user's settings: what those of real Nix 2.8 tell, and builds go by it."""

from __future__ import annotations

import shlex
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.daemon_process import BIN, DaemonProcess
from tests.oracle.real_nix import RealNix
from tests.recording_socket import RecordingSocket, greeting

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

ROOTS = "nix-store --gc --print-roots"
DERIVATION = 'derivation { name = "x"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "> $out" ]; }'
COMMANDS = (
    f"nix-build --no-out-link -E {shlex.quote(DERIVATION)}",
    f"nix-instantiate -E {shlex.quote(DERIVATION)} --option system i686-linux",
    "nix store ping -j3 --keep-going --substitute",  # without a network it turns that off if nobody says so
    ROOTS,
    f"{ROOTS} -K -k --fallback",
    f"{ROOTS} -j 4 --cores 3 --timeout 7 --max-silent-time 9",
    f"{ROOTS} -j auto --cores 0",
    f"{ROOTS} --no-substitute --option timeout 4 --option require-sigs false",
    f"{ROOTS} --option extra-substituters 'file:///x file:///y' --option tarball-ttl 0",
    f"{ROOTS} --option build-timeout 4 --option binary-caches '' --option builders '' --builders ssh://x",
    f"{ROOTS} --option sandbox relaxed --option system-features 'b a b' --option trusted-public-keys 'b a b'",
    f"{ROOTS} --option keep-failed true --option max-jobs 3 --option cores 2 --option substitute false",
    f"{ROOTS} --option access-tokens secret --option experimental-features nix-command --option restrict-eval true",
    f"{ROOTS} --option http2 false --option connect-timeout 3 --option user-agent-suffix abc --no-print-missing",
    f"{ROOTS} -vv",
    f"{ROOTS} --quiet",
    f"{ROOTS} --debug",
)


@pytest.fixture
def real(scratch: Path) -> RealNix:
    """A store of real Nix at its physical place, in which it builds without a sandbox."""
    return RealNix(scratch / "real")


@pytest.fixture
def between(real: RealNix, scratch: Path) -> Iterator[RecordingSocket]:
    """A real daemon's socket, with somebody who listens."""
    with real.daemon() as path, RecordingSocket(scratch / "between", path) as recording:
        yield recording


def greetings(between: RecordingSocket, real: RealNix, folder: Path, line: str, **more: str) -> list[bytes]:
    """What each connection of a command begins with."""
    words = shlex.split(line)
    env = {**real.env, "NIX_REMOTE": f"unix://{between.path}", **more}
    subprocess.run([folder / words[0], *words[1:]], env=env, capture_output=True, check=True, timeout=60)
    return [greeting(said) for said in between.taken()]


def test_daemons_are_told_what_nix_tells_them(between: RecordingSocket, real: RealNix) -> None:
    for line in COMMANDS:
        wanted = greetings(between, real, real.bin, line)
        assert len(wanted) == 1
        assert greetings(between, real, BIN, line) == wanted, line


def test_files_of_the_user_count_and_those_of_the_machine_do_not(
    between: RecordingSocket, real: RealNix, scratch: Path
) -> None:
    (scratch / "user.conf").write_text("timeout = 4\nmax-jobs = 5\nextra-substituters = file:///y\n")
    Path(real.env["NIX_CONF_DIR"], "nix.conf").write_text("timeout = 3\nkeep-outputs = true\nsubstituters = a\n")
    files = {"NIX_USER_CONF_FILES": str(scratch / "user.conf")}
    for config in ("", "min-free = 3\nsandbox = true"):
        wanted = greetings(between, real, real.bin, ROOTS, NIX_CONFIG=config, **files)
        assert b"keep-outputs" not in wanted[0]
        assert greetings(between, real, BIN, ROOTS, NIX_CONFIG=config, **files) == wanted


def test_daemons_of_other_machines_have_settings_of_their_own(real: RealNix, scratch: Path) -> None:
    program = scratch / "far"
    program.write_text(f'#!/bin/sh\ntee {scratch}/said | NIX_REMOTE= {real.bin}/nix-daemon "$@"\n')
    program.chmod(0o755)
    env = {**real.env, "NIX_REMOTE": f"ssh-ng://localhost?remote-program={program}"}
    said = []
    for folder in (real.bin, BIN):
        command = [folder / "nix", "store", "ping", "--cores", "3", "--timeout", "7"]
        subprocess.run(command, env=env, capture_output=True, check=True, timeout=60)
        said.append(greeting((scratch / "said").read_bytes()))
    assert said[0] == said[1]
    assert len(said[0]) == 32


def test_machines_behind_the_serve_protocol_are_told_limits(real: RealNix, scratch: Path) -> None:
    program = scratch / "far"
    program.write_text(f'#!/bin/sh\ntee {scratch}/said | NIX_REMOTE= {real.bin}/nix-store "$@"\n')
    program.chmod(0o755)
    limits = shlex.split(
        "--max-silent-time 9 --timeout 777 --option max-build-log-size 333 --option repeat 1 -K -j0 --builders"
    )
    said = []
    for folder in (real.bin, BIN):
        near = scratch / folder.name
        uri = f"ssh://localhost?remote-program={program}&remote-store={near}/far?store={near}/store"
        env = {**real.env, "NIX_STATE_DIR": f"{near}/state", "NIX_STORE_DIR": f"{near}/store", "TMPDIR": str(scratch)}
        command = [
            folder / "nix-build",
            "--no-out-link",
            "-E",
            DERIVATION,
            *limits,
            f"{uri} x86_64-linux",
        ]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
        data = (scratch / "said").read_bytes()
        place = data.find(struct.pack("<QQ", 9, 777))
        assert place > 0, done.stderr
        said.append(struct.unpack("<6Q", data[place : place + 48]))
    assert said[0] == said[1] == (9, 777, 333, 1, 1, 1)


class Client:
    """Our `nix-build` as a client of a daemon."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env

    def build(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run it; checks its exit status."""
        done = subprocess.run(
            [BIN / "nix-build", "--no-out-link", *arguments], env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        return done


@pytest.fixture(params=["ours", "real"])
def client(request: pytest.FixtureRequest, environ: dict[str, str], real: RealNix) -> Iterator[Client]:
    if request.param == "real":
        with real.daemon():
            yield Client({**real.env, "NIX_REMOTE": "daemon"})
        return
    with DaemonProcess(environ) as daemon:
        yield Client(daemon.env)


def script(name: str, text: str) -> str:
    """An expression for a derivation."""
    return f'derivation {{ name = "{name}"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "{text}" ]; }}'


@pytest.mark.root
@pytest.mark.fuse
class TestBuilds:
    def test_processors(self, client: Client) -> None:
        for count in ("3", "0"):
            done = client.build("--cores", count, "-E", script(f"cores{count}", "echo $NIX_BUILD_CORES; echo > $out"))
            assert count in done.stderr.splitlines()

    def test_directories_of_failed_builds(self, client: Client) -> None:
        expression = script("failed", "echo kept > file; exit 1")
        assert "keeping build directory" not in client.build("-E", expression, status=100).stderr
        done = client.build("-K", "-E", expression, status=100)
        assert "..." not in done.stderr.splitlines()
        (line,) = (line for line in done.stderr.splitlines() if "keeping build directory" in line)
        folder = Path(line.split("'")[1])
        assert (folder / "file").read_text() == "kept\n"
        shutil.rmtree(folder if folder.name.startswith("nix-build-") else folder.parent)

    def test_limits_of_time(self, client: Client) -> None:
        endless = script("endless", "echo begun; while :; do :; done")
        assert "timed out after 1 seconds" in client.build("--timeout", "1", "-E", endless, status=101).stderr
        assert "after 1 seconds of silence" in client.build("--max-silent-time", "1", "-E", endless, status=101).stderr

    def test_going_on(self, client: Client) -> None:
        last = script("last", "echo last; echo > $out")
        expression = f"[ ({script('first', 'exit 1')}) ({last}) ]"
        client.build("-j1", "-E", expression, status=100)
        done = client.build("-j1", "-k", "-E", expression, status=100)
        assert "last" in done.stderr.splitlines()

    def test_other_settings(self, client: Client) -> None:
        done = client.build("--option", "repeat", "2", "-E", script("thrice", "echo once more; echo > $out"))
        assert done.stderr.splitlines().count("once more") == 3
