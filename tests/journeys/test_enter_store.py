"""Seeing the store at its real path, on machines that have all it takes and on machines that lack something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import UserRunner

pytestmark = pytest.mark.root

LIST = (
    "verglas",
    "run",
    "sh",
    "-c",
    'id -u; ls -A $NIX_STORE_DIR; grep -c "^$NIX_STATE_DIR/verglas $NIX_STORE_DIR " /proc/self/mounts',
)


@pytest.mark.slow
@pytest.mark.fuse
def test_an_ordinary_user_sees_the_store(run_as: UserRunner) -> None:
    assert run_as(*LIST).stdout.split() == ["54321", "1"]


@pytest.mark.slow
@pytest.mark.fuse
def test_the_store_appears_at_a_path_that_the_machine_does_not_have(run_as: UserRunner) -> None:
    done = run_as(*LIST, NIX_STORE_DIR="/no/such/folder/store")
    assert done.stdout.split() == ["54321", "1"]


@pytest.mark.slow
@pytest.mark.fuse
def test_programs_of_the_profile_are_found(run_as: UserRunner, scratch: Path) -> None:
    """An ordinary user's first profile: apply says how its programs are run, and so they are."""
    settings = "substituters =\nbuild-users-group =\n"
    package = scratch / "greet/bin/greet"
    package.parent.mkdir(parents=True)
    package.write_text("#!/bin/sh\necho hi\n")
    package.chmod(0o755)
    elsewhere = {"NIX_STORE_DIR": "/no/such/folder/store", "NIX_CONFIG": settings}
    path = run_as("nix-store", "--add", scratch / "greet", **elsewhere).stdout.strip()
    (scratch / "profile.yaml").write_text(f"packages: [{path}]\n")
    applied = run_as("verglas", "profile", "apply", "--file", scratch / "profile.yaml", **elsewhere)
    assert "generation 1 is live" in applied.stdout
    assert "'verglas run' and 'verglas shell' show them" in applied.stderr
    assert run_as("verglas", "run", "greet", **elsewhere).stdout == "hi\n"
    assert run_as("verglas", "shell", "--", "-c", "greet", SHELL="/bin/sh", **elsewhere).stdout == "hi\n"


@pytest.mark.slow
@pytest.mark.fuse
def test_a_program_that_is_nowhere(run_as: UserRunner, scratch: Path) -> None:
    """As a shell sees it: a folder on PATH that may not be looked into is none that has it."""
    (scratch / "closed").mkdir(mode=0o700)
    there = scratch / "there"
    there.write_text("data")
    said = "error: can't run '{}': {}\n"
    missing = "there is no such program in the profile or elsewhere on PATH"
    done = run_as("verglas", "run", "no-such-program", status=127, PATH=f"{scratch}/closed:/usr/bin:/bin")
    assert done.stderr == said.format("no-such-program", missing)
    assert run_as("verglas", "run", there, status=126).stderr == said.format(there, "Permission denied")
    gone = scratch / "gone"
    assert run_as("verglas", "run", gone, status=127).stderr == said.format(gone, "No such file or directory")


def test_a_device_for_root_alone_is_named(run_as: UserRunner) -> None:
    done = run_as(*LIST, fuse=0o600, status=1)
    assert done.stderr.count("\n") == 1
    assert "'/dev/fuse': Permission denied; user 54321 must be able to read and write it" in done.stderr


def test_a_missing_device_is_named(run_as: UserRunner) -> None:
    done = run_as(*LIST, fuse=None, status=1)
    assert done.stderr.count("\n") == 1
    assert "'/dev/fuse' does not exist; load the kernel module" in done.stderr


def test_missing_user_namespaces_are_named(run_as: UserRunner) -> None:
    done = run_as(*LIST, namespaces=False, status=1)
    assert done.stderr.count("\n") == 1
    assert "can't enter a user namespace" in done.stderr
