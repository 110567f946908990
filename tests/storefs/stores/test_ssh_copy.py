"""nix-copy-closure and ssh:// stores. `localhost` means a child process without ssh, as with Nix; the rest is real."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import BIN, Runner
from tests.daemon_process import DaemonProcess
from tests.oracle.real_nix import RealNix

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def unmounted(run: Runner, scratch: Path) -> Iterator[None]:
    """The other machine mounts its store for who looks for what was copied to it: here one process after the other."""
    yield
    for folder in scratch.glob("*/verglas"):
        run("verglas", "umount", "--lazy", status=None, NIX_STATE_DIR=str(folder.parent), NIX_REMOTE="")


def program(folder: Path, environ: dict[str, str], command: str) -> str:
    """Write a script that is the other machine's `nix-store`; return the host to copy to."""
    script = folder / "other-nix-store"
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environ.items()]
    script.write_text("\n".join(["#!/bin/sh", *lines, f'echo "$@" >> {folder}/calls', f'exec {command} "$@"', ""]))
    script.chmod(0o755)
    return f"ssh://localhost?remote-program={script}"


def two_paths(run: Runner, scratch: Path) -> tuple[str, str]:
    """Add a path and another one that refers to it."""
    (scratch / "file").write_text("hello")
    one = run("nix-store", "--add", scratch / "file").stdout.strip()
    expression = f'derivation {{ name = "two"; system = "x"; builder = "/b"; one = builtins.storePath "{one}"; }}'
    return one, run("nix-instantiate", "-E", expression).stdout.strip()


def test_to_another_machine_and_back(run: Runner, scratch: Path) -> None:
    one, two = two_paths(run, scratch)
    host = program(scratch, {"NIX_STATE_DIR": f"{scratch}/there"}, f"{BIN}/nix-store")
    first = run("nix-copy-closure", "--to", host, two).stderr
    assert "copying 2 missing paths" in first
    assert run("nix-copy-closure", "--to", host, two).stderr == ""
    there = {"NIX_STATE_DIR": f"{scratch}/there"}
    assert sorted(run("nix-store", "-qR", two, **there).stdout.split()) == sorted([one, two])
    assert run("nix-store", "-q", "--hash", one, **there).stdout == run("nix-store", "-q", "--hash", one).stdout

    back = {"NIX_STATE_DIR": f"{scratch}/back"}
    run("nix-copy-closure", "--from", host, two, **back)
    assert sorted(run("nix-store", "-qR", two, **back).stdout.split()) == sorted([one, two])
    # Not one path was named on a command line.
    assert set((scratch / "calls").read_text().split()) == {"--serve", "--write"}


def test_the_other_machine_may_ask_a_daemon_itself(run: Runner, scratch: Path, environ: dict[str, str]) -> None:
    one, two = two_paths(run, scratch)
    there = {"NIX_STATE_DIR": f"{scratch}/there"}
    with DaemonProcess({**environ, **there}):
        host = program(scratch, {**there, "NIX_REMOTE": "daemon"}, f"{BIN}/nix-store")
        run("nix-copy-closure", "--to", host, two)
        assert sorted(run("nix-store", "-qR", two, **there, NIX_REMOTE="daemon").stdout.split()) == sorted([one, two])
        back = {"NIX_STATE_DIR": f"{scratch}/back"}
        run("nix-copy-closure", "--from", host, two, **back)
        assert sorted(run("nix-store", "-qR", two, **back).stdout.split()) == sorted([one, two])


@pytest.mark.fuse
def test_what_was_copied_can_be_seen_there_without_another_command(run: Runner, scratch: Path) -> None:
    (scratch / "store").mkdir()  # an ordinary user's other programs see a store whose directory is there and his
    one, two = two_paths(run, scratch)
    run("nix-copy-closure", "--to", program(scratch, {"NIX_STATE_DIR": f"{scratch}/there"}, f"{BIN}/nix-store"), two)
    assert Path(one).read_text() == "hello"


def test_dry_run_copies_nothing(run: Runner, scratch: Path) -> None:
    _, two = two_paths(run, scratch)
    host = program(scratch, {"NIX_STATE_DIR": f"{scratch}/there"}, f"{BIN}/nix-store")
    assert "copying 2 missing paths" in run("nix-copy-closure", "--dry-run", host, two).stderr
    run("nix-store", "--check-validity", two, status=1, NIX_STATE_DIR=f"{scratch}/there")


def test_path_that_is_not_there_is_named(run: Runner, scratch: Path) -> None:
    one, _ = two_paths(run, scratch)
    host = program(scratch, {"NIX_STATE_DIR": f"{scratch}/empty"}, f"{BIN}/nix-store")
    done = run("nix-copy-closure", "--from", host, one, status=1, NIX_STATE_DIR=f"{scratch}/fresh")
    assert Path(one).name in done.stderr


def test_unreachable_machine_is_named(run: Runner, scratch: Path) -> None:
    one, _ = two_paths(run, scratch)
    done = run("nix-copy-closure", "ssh://localhost?remote-program=/nonexistent", one, status=1)
    assert "localhost" in done.stderr or "/nonexistent" in done.stderr


@pytest.mark.oracle
def test_to_real_nix_and_back(run: Runner, scratch: Path, real_nix: RealNix) -> None:
    one, two = two_paths(run, scratch)
    host = program(scratch, real_nix.env, str(real_nix.bin / "nix-store"))
    run("nix-copy-closure", "--to", host, two)
    assert sorted(real_nix.run("nix-store", "-qR", two).decode().split()) == sorted([one, two])
    back = {"NIX_STATE_DIR": f"{scratch}/back"}
    run("verglas", "copy", "--no-check-sigs", "--from", host, two, **back)
    assert sorted(run("nix-store", "-qR", two, **back).stdout.split()) == sorted([one, two])


@pytest.mark.oracle
def test_real_nix_copies_to_and_from_us(run: Runner, scratch: Path, real_nix: RealNix) -> None:
    environ = {"NIX_STATE_DIR": f"{scratch}/there", "NIX_REMOTE": "", "NIX_CONFIG": "substituters ="}
    (scratch / "file").write_text("theirs")
    path = real_nix.line("nix-store", "--add", str(scratch / "file"))
    host = program(scratch, environ, f"{BIN}/nix-store")
    real_nix.run("nix", "copy", "--no-check-sigs", "--to", host, path)
    there = {"NIX_STATE_DIR": f"{scratch}/there"}
    expected = real_nix.run("nix-store", "-q", "--hash", path).decode()
    assert run("nix-store", "-q", "--hash", path, **there).stdout == expected
    fresh = RealNix(scratch / "fresh", real_nix.store_dir)
    fresh.run("nix", "copy", "--no-check-sigs", "--from", host, path)
    assert fresh.run("nix-store", "-q", "--hash", path).decode() == expected
