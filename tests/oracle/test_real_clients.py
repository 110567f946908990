"""Programs of real Nix 2.8 as clients of our daemon: what they print is what they print with their own."""

from __future__ import annotations

import json
import os
import select
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.daemon_process import REAL, DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.oracle.real_nix import RealNix

pytestmark = [pytest.mark.oracle, pytest.mark.root, pytest.mark.fuse, pytest.mark.slow]

SYSTEM = "x86_64-linux"


@pytest.fixture
def daemon(environ: dict[str, str]) -> Iterator[DaemonProcess]:
    with DaemonProcess(environ) as daemon:
        yield daemon


@pytest.fixture
def tree(scratch: Path) -> Path:
    folder = scratch / "tree"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/tool").write_text("#!/bin/sh\n")
    (folder / "bin/tool").chmod(0o755)
    (folder / "link").symlink_to("bin/tool")
    return folder


def derivation(name: str, script: str, **more: str) -> str:
    extra = "".join(f"{key} = {value}; " for key, value in more.items())
    return (
        f'derivation {{ name = "{name}"; system = "{SYSTEM}"; builder = "/bin/sh"; args = ["-c" "{script}"]; {extra}}}'
    )


def test_adding_and_asking(daemon: DaemonProcess, tree: Path, real_nix: RealNix) -> None:
    path = daemon.real("nix-store", "--add", str(tree))
    assert path == real_nix.line("nix-store", "--add", str(tree))
    flat = daemon.real("nix-store", "--add-fixed", "sha1", str(tree / "bin/tool"))
    assert flat == real_nix.line("nix-store", "--add-fixed", "sha1", str(tree / "bin/tool"))
    for question in ("--hash", "--size", "--references", "--requisites", "--deriver", "--roots"):
        assert daemon.real("nix-store", "-q", question, path) == real_nix.line("nix-store", "-q", question, path)
    assert os.readlink(f"{path}/link") == "bin/tool"
    dump = subprocess.run([f"{REAL}/nix-store", "--dump", path], env=daemon.env, capture_output=True, check=True)
    assert dump.stdout == real_nix.run("nix-store", "--dump", str(tree))


def test_directories_are_no_flat_files(daemon: DaemonProcess, tree: Path) -> None:
    done = daemon.client(f"{REAL}/nix-store", "--add-fixed", "sha256", str(tree), status=1)
    assert "regular file" in done.stderr or "Is a directory" in done.stderr
    assert daemon.real("nix-store", "--add", str(tree))


def test_building(daemon: DaemonProcess, scratch: Path) -> None:
    expression = derivation("hello", "echo hello; echo hi > $out")
    done = daemon.client(f"{REAL}/nix-build", "--no-out-link", "-E", expression)
    assert Path(done.stdout.strip()).read_text() == "hi\n"
    assert "hello" in done.stderr.splitlines()
    assert "building '" in done.stderr
    again = daemon.client(f"{REAL}/nix-build", "--no-out-link", "-E", expression)
    assert again.stdout == done.stdout
    assert "building" not in again.stderr
    info = json.loads(daemon.real("nix", "path-info", "--json", done.stdout.strip()))
    assert info[0]["ultimate"] is True
    assert info[0]["deriver"].endswith("-hello.drv")


def test_a_failed_build_is_told(daemon: DaemonProcess) -> None:
    done = daemon.client(f"{REAL}/nix-build", "-E", derivation("fail", "echo oops >&2; exit 3"), status=1)
    assert "oops" in done.stderr
    assert "failed with exit code 3" in done.stderr
    assert daemon.real("nix-store", "--gc", "--print-roots") == ""


def test_collecting(daemon: DaemonProcess, tree: Path, scratch: Path) -> None:
    path = daemon.real("nix-store", "--add", str(tree))
    daemon.real("nix-store", "--add-root", str(scratch / "root"), "--indirect", "-r", path)
    assert f"{scratch}/root -> {path}" in daemon.real("nix-store", "--gc", "--print-roots")
    daemon.real("nix-store", "--gc")
    assert Path(path, "link").exists()
    assert "still alive" in daemon.client(f"{REAL}/nix-store", "--delete", path, status=1).stderr
    (scratch / "root").unlink()
    daemon.real("nix-store", "--delete", path)
    assert not Path(path).exists()


def test_exports_and_caches(daemon: DaemonProcess, tree: Path, scratch: Path, real_nix: RealNix) -> None:
    path = daemon.real("nix-store", "--add", str(tree))
    exported = subprocess.run([f"{REAL}/nix-store", "--export", path], env=daemon.env, capture_output=True, check=True)
    real_nix.run("nix-store", "--add", str(tree))
    assert exported.stdout == real_nix.run("nix-store", "--export", path)
    daemon.real("nix", "copy", "--to", f"file://{scratch}/cache", path)
    daemon.real("nix-store", "--delete", path)
    subprocess.run([f"{REAL}/nix-store", "--import"], env=daemon.env, input=exported.stdout, check=True)
    daemon.real("nix-store", "--delete", path)
    daemon.real("nix", "copy", "--from", f"file://{scratch}/cache", path)
    assert daemon.real("nix-store", "-q", "--hash", path) == real_nix.line("nix-store", "-q", "--hash", path)
    daemon.real("nix", "store", "verify", "--no-trust", path)
    daemon.real("nix-store", "--verify", "--check-contents")


def test_environments_and_shells(daemon: DaemonProcess, scratch: Path) -> None:
    (scratch / "default.nix").write_text(f"{{ tool = {derivation('tool-1.0', 'echo tool > $out')}; }}")
    assert daemon.real("nix-env", "-f", str(scratch), "-qaP", "--no-name") == "tool"
    text = daemon.real("nix-instantiate", "--eval", "--strict", "-E", "1 + 1")
    assert text == "2"
    daemon.real("nix", "store", "ping")


def test_a_client_that_goes_away_takes_its_build_with_it(daemon: DaemonProcess, scratch: Path) -> None:
    expression = derivation("endless", "echo running endless-build; while :; do :; done")
    environ = daemon.env | {"TMPDIR": str(scratch)}  # where it leaves a directory
    client = subprocess.Popen(
        [f"{REAL}/nix-build", "--no-out-link", "-E", expression], env=environ, stderr=subprocess.PIPE, text=True
    )
    assert client.stderr is not None
    assert any("running endless-build" in line for line in client.stderr)
    (builder,) = processes_with("echo running endless-build")
    ending = os.pidfd_open(builder)
    client.kill()
    client.communicate()
    poll = select.poll()
    poll.register(ending, select.POLLIN)
    assert poll.poll(30_000), "the builder outlived the client that wanted it"
    os.close(ending)


def processes_with(text: str) -> list[int]:
    """The processes whose own command line, and not that of a client, contains a text."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(text.encode() in word for word in words) and b"nix-build" not in words[0]:
            found.append(int(entry))
    return found


def test_two_clients_share_one_build(daemon: DaemonProcess, scratch: Path) -> None:
    count = scratch / "count"
    count.touch()
    daemon.stop()
    daemon.daemon_env["NIX_CONFIG"] += f"sandbox-paths = {count}\n"
    daemon.start()
    count.chmod(0o666)
    expression = derivation("once", f"echo x >> {count}; for i in 1 2 3 4 5 6 7 8 9; do :; done; echo > $out")
    clients = [
        subprocess.Popen(
            [f"{REAL}/nix-build", "--no-out-link", "-E", expression],
            env=daemon.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(4)
    ]
    printed = {client.communicate()[0] for client in clients}
    assert [client.returncode for client in clients] == [0, 0, 0, 0]
    assert len(printed) == 1
    assert count.read_text() == "x\n"
