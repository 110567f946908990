"""Copies to and from the daemon of another machine. `localhost` means a child process without ssh, as with Nix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storefs.config import Config
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.stores.local import LocalStore
from tests.conftest import BIN, Runner
from tests.oracle.real_nix import RealNix
from tests.storefs.stores.test_ssh_copy import program, two_paths

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.fuse]


@pytest.fixture
def daemon(run: Runner, scratch: Path) -> Iterator[Callable[[str], str]]:
    """Gives the URI of a daemon of ours with the state directory of a name; it has mounted its store, as daemons do."""
    states = []

    def host(name: str) -> str:
        states.append(state(scratch, name))
        alone = {**states[-1], "NIX_REMOTE": "", "NIX_CONFIG": "substituters ="}  # whatever its client has set
        return program(scratch, alone, f"{BIN}/nix-daemon").replace("ssh://", "ssh-ng://")

    yield host
    for each in states:
        run("verglas", "umount", status=None, **each)


def state(scratch: Path, name: str) -> dict[str, str]:
    return {"NIX_STATE_DIR": f"{scratch}/{name}"}


def closure(run: Runner, path: str, **env: str) -> list[str]:
    return sorted(run("nix-store", "-qR", path, **env).stdout.split())


def test_to_another_daemon_and_back(run: Runner, scratch: Path, daemon: Callable[[str], str]) -> None:
    one, two = two_paths(run, scratch)
    host = daemon("there")
    run("verglas", "copy", "--to", host, two)
    assert closure(run, two, **state(scratch, "there")) == sorted([one, two])
    there = run("nix-store", "-q", "--hash", one, **state(scratch, "there")).stdout
    assert there == run("nix-store", "-q", "--hash", one).stdout
    run("verglas", "copy", "--from", host, two, **state(scratch, "back"))
    assert closure(run, two, **state(scratch, "back")) == sorted([one, two])


def test_what_nothing_vouches_for_is_refused(
    run: Runner, scratch: Path, daemon: Callable[[str], str], config: Config
) -> None:
    with LocalStore(config) as store, store.intake() as intake:
        tree = intake.add_bytes(b"who made this?")
        path = StorePath("0" * 32 + "-built")
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size))])
        text = store.directory.print(path)
    fresh = state(scratch, "fresh")
    host = daemon("state")
    assert "signature" in run("verglas", "copy", "--from", host, text, status=1, **fresh).stderr
    run("nix-store", "--check-validity", text, status=1, **fresh)
    run("verglas", "copy", "--no-check-sigs", "--from", host, text, **fresh)
    run("nix-store", "--check-validity", text, **fresh)


def test_a_path_that_is_not_there_is_named(run: Runner, scratch: Path, daemon: Callable[[str], str]) -> None:
    one, _ = two_paths(run, scratch)
    refused = run("verglas", "copy", "--from", daemon("empty"), one, status=1, **state(scratch, "fresh"))
    assert Path(one).name in refused.stderr


def test_a_daemon_that_does_not_start_is_named(run: Runner, scratch: Path) -> None:
    one, _ = two_paths(run, scratch)
    refused = run("verglas", "copy", "--to", "ssh-ng://localhost?remote-program=/nonexistent", one, status=1)
    assert "/nonexistent" in refused.stderr


@pytest.mark.oracle
def test_to_real_nix_and_back(run: Runner, scratch: Path, real_nix: RealNix) -> None:
    one, two = two_paths(run, scratch)
    host = program(scratch, real_nix.env, str(real_nix.bin / "nix-daemon")).replace("ssh://", "ssh-ng://")
    run("verglas", "copy", "--to", host, two)
    assert sorted(real_nix.run("nix-store", "-qR", two).decode().split()) == sorted([one, two])
    run("verglas", "copy", "--from", host, two, **state(scratch, "back"))
    assert closure(run, two, **state(scratch, "back")) == sorted([one, two])


@pytest.mark.oracle
def test_real_nix_copies_to_and_from_us(
    run: Runner, scratch: Path, daemon: Callable[[str], str], real_nix: RealNix
) -> None:
    (scratch / "file").write_text("theirs")
    path = real_nix.line("nix-store", "--add", str(scratch / "file"))
    host = daemon("there")
    real_nix.run("nix", "copy", "--to", host, path)
    expected = real_nix.run("nix-store", "-q", "--hash", path).decode()
    assert run("nix-store", "-q", "--hash", path, **state(scratch, "there")).stdout == expected
    fresh = RealNix(scratch / "fresh", real_nix.store_dir)
    fresh.run("nix", "copy", "--from", host, path)
    assert fresh.run("nix-store", "-q", "--hash", path).decode() == expected
