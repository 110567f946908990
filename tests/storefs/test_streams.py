"""Commands whose standard streams are closed or full, that stand nowhere, or that are given what they do not take."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from storefs import cli

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner

KEY = "test:" + "A" * 86 + "=="


def outcome(environ: dict[str, str], scratch: Path, line: str) -> tuple[int, str]:
    """Run a shell command line; return the status of its last command, and what was said on standard error."""
    done = subprocess.run(
        ["sh", "-c", line],
        env=environ,
        cwd=scratch,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "nix-build --help",
        "nix --version",
        "nix-instantiate --eval -E 1",
        "nix-hash --to-base16 --type md5 0000000000000000000000000000000a",
        "nix-store --dump default.nix",
        "nix-store --dump .",
        "nix show-config",
        "verglas doctor",
    ],
)
def test_output_that_can_not_be_written(environ: dict[str, str], scratch: Path, command: str) -> None:
    (scratch / "default.nix").write_text("1")
    for where, why in ((">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")):
        status, said = outcome(environ, scratch, f"{command} {where}")
        assert status == (2 if command == "verglas doctor" else 1)
        assert said.startswith("error: ")
        assert said.endswith(f"{why}\n")
        assert "standard output" in said
        assert said.count("\n") == 1
    assert outcome(environ, scratch, f"{command} | :")[1] == ""


@pytest.mark.parametrize(
    "command",
    [
        "nix-instantiate --eval -",
        "nix-store --load-db",
        "nix-store --import",
        "nix-store --restore there",
        "nix-store --serve",
        "nix key convert-secret-to-public",
        "nix repl",
        "verglas push --stdin file:///nowhere",
    ],
)
def test_input_that_can_not_be_read(environ: dict[str, str], scratch: Path, command: str) -> None:
    status, said = outcome(environ, scratch, f"{command} <&-")
    assert (status, said.count("\n")) == (1, 1), said
    assert said.startswith("error: ")
    assert "standard input" in said
    assert said.endswith("Bad file descriptor\n")


def test_what_needs_no_closed_stream_works_without(environ: dict[str, str], scratch: Path) -> None:
    (scratch / "default.nix").write_text("builtins.trace ''said'' 1")
    for command in ("nix-instantiate --eval", "nix-store --add default.nix"):
        assert outcome(environ, scratch, f"{command} <&- 2>&-") == (0, "")
    assert outcome(environ, scratch, "nix-store --verify --check-contents")[0] == 0


def test_a_closed_descriptor_is_none_that_something_else_could_get(environ: dict[str, str], scratch: Path) -> None:
    """A program that is started says nothing into a file of ours."""
    program = scratch / "bin/git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nfor fd in 0 1 2; do readlink /proc/$$/fd/$fd; done >> {scratch}/streams\nexit 1\n")
    program.chmod(0o755)
    environ["PATH"] = f"{program.parent}:{environ['PATH']}"
    expression = shlex.quote("builtins.fetchGit ''git://localhost/x''")
    assert outcome(environ, scratch, f"nix-instantiate --eval -E {expression} <&- >&- 2>&-")[0] == 1
    assert (scratch / "streams").read_text().splitlines()[0] == os.devnull


def test_a_directory_that_was_removed(environ: dict[str, str], scratch: Path) -> None:
    status, said = outcome(environ, scratch, "mkdir gone; cd gone; rmdir ../gone; nix-instantiate --eval -E 1")
    assert status == 1
    assert said == "error: cannot tell where we are, the current directory was removed: No such file or directory\n"


def test_operands_that_are_not_taken(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.verb_names():
        command = cli.load_verb(name)[0]
        if not command.operands:
            assert cli.run_command([*command.name.split(), "surplus"], environ) == 1, command.name
            assert capsys.readouterr().err == f"error: unexpected argument 'surplus'; try '{command.name} --help'\n"


def test_names_that_are_empty(run: Runner) -> None:
    for words in (("mount", ""), ("umount", "")):
        assert run("verglas", *words, status=1).stderr == "error: a directory without a name was given\n"
    assert run("verglas", "run", "", status=1).stderr == "error: verglas run needs a program to run\n"
    assert "file '' was not found in the Nix search path" in run("nix-instantiate", "--find-file", "", status=1).stderr
