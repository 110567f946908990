from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Runner

pytestmark = [pytest.mark.slow, pytest.mark.fuse]

EXPRESSION = """
{ inNixShell ? false }: derivation {
  name = "s";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  FOO = "bar  baz";
  inherit inNixShell;
  dep = derivation {
    name = "d";
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "echo from dep > $out" ];
  };
  passAsFile = [ "big" ];
  big = "contents";
}
"""


@pytest.fixture
def folder(scratch: Path, run: Runner) -> Iterator[Path]:
    (scratch / "default.nix").write_text(EXPRESSION)
    yield scratch
    run("verglas", "umount", status=None)


def shell(run: Runner, *words: str, **variables: str) -> str:
    return run("nix-shell", *words, NIX_BUILD_SHELL="bash", **variables).stdout


def test_variables_and_dependencies_are_there(run: Runner, folder: Path) -> None:
    command = 'echo "$FOO|$inNixShell|$IN_NIX_SHELL"; cat $dep $bigPath'
    assert shell(run, "--run", command) == "bar  baz|1|impure\nfrom dep\ncontents"


def test_a_pure_shell_knows_only_what_it_should(run: Runner, folder: Path) -> None:
    command = 'echo "${LEAK-none} ${KEPT-none} $IN_NIX_SHELL"'
    assert shell(run, "--pure", "--keep", "KEPT", "--run", command, LEAK="x", KEPT="y") == "none y pure\n"
    assert shell(run, "--run", command, LEAK="x", KEPT="y") == "x y impure\n"


def test_the_users_programs_stay_on_the_path(run: Runner, folder: Path) -> None:
    path = shell(run, "--run", "echo $PATH").strip().split(":")
    assert "" not in path
    assert set(os.environ["PATH"].split(":")) - {""} <= set(path)


def test_scripts_name_their_own_environment(run: Runner, folder: Path) -> None:
    script = folder / "script"
    script.write_text('#! /usr/bin/env nix-shell\n#! nix-shell -i bash default.nix\necho "$FOO" "$@" "$#"\n')
    # The script takes the shell's place, so that nobody is left to remove the files of `passAsFile`: as with Nix.
    assert shell(run, str(script), "--flag", "a b", TMPDIR=str(folder)) == "bar  baz --flag a b 2\n"


def test_exit_statuses_are_passed_on(run: Runner, folder: Path) -> None:
    run("nix-shell", "--run", "exit 7", NIX_BUILD_SHELL="bash", status=7)


def test_it_wants_one_derivation(run: Runner, folder: Path) -> None:
    error = run("nix-shell", "-E", "[ ]", "--run", "true", NIX_BUILD_SHELL="bash", status=1).stderr
    assert "nix-shell requires a single derivation" in error


def test_nothing_is_left_in_the_temporary_directory(run: Runner, folder: Path) -> None:
    scratch = folder / "tmp"
    scratch.mkdir()
    shell(run, "--run", "true", TMPDIR=str(scratch))
    assert list(scratch.iterdir()) == []
