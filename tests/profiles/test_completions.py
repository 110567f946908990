"""Completions and manual pages: generated for every command, and accepted by those who read them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from profiles.all_commands import all_commands
from profiles.completions import SHELLS, script
from profiles.man_pages import man_page, page_name

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner


def complete(scratch: Path, *words: str) -> list[str]:
    """Return what bash offers for the last of `words`."""
    file = scratch / "completions.bash"
    file.write_text(script("bash", all_commands()))
    function = "_verglas_" + words[0].replace("-", "_")
    quoted = " ".join(f"'{word}'" for word in words)
    text = f"source {file}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; {function}; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["/bin/bash", "-c", text], capture_output=True, text=True, check=True, cwd=scratch)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.slow
def test_bash_completes_verbs_options_and_files(scratch: Path) -> None:
    (scratch / "profile.yaml").write_text("")
    assert complete(scratch, "verglas", "prof") == ["profile"]
    assert complete(scratch, "verglas", "profile", "rollb") == ["rollback"]
    assert complete(scratch, "verglas", "profile", "rollback", "--to") == ["--to"]
    assert complete(scratch, "nix", "sto") == ["store"]
    assert complete(scratch, "nix", "store", "c") == ["cat", "copy-log"]
    assert "--index-debug-info" not in complete(scratch, "nix", "store", "copy-log", "--")
    assert "--from" in complete(scratch, "nix", "store", "copy-log", "--f")
    assert complete(scratch, "nix-env", "--roll") == ["--rollback"]
    assert complete(scratch, "verglas", "profile", "apply", "--file", "prof") == ["profile.yaml"]
    assert "--version" in complete(scratch, "nix-channel", "--v")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_of_every_command_is_in_the_script(shell: str) -> None:
    programs = all_commands()
    text = script(shell, programs)
    for verbs in programs.values():
        for command in verbs.values():
            for option in command.options:
                if not option.hidden:
                    spelled = option.name.lstrip("-") if shell == "fish" else option.name
                    assert spelled in text, f"{command.name} {option.name}"


@pytest.mark.parametrize(("shell", "program"), [("zsh", "zsh"), ("fish", "fish")])
def test_the_other_shells_can_parse_theirs(scratch: Path, shell: str, program: str) -> None:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    (scratch / "script").write_text(script(shell, all_commands()))
    subprocess.run([found, "-n", scratch / "script"], check=True)


def test_fish_completes_verbs_and_options(scratch: Path) -> None:
    found = shutil.which("fish")
    if found is None:
        pytest.skip("fish is not installed")
    (scratch / "script").write_text(script("fish", all_commands()))

    def offered(line: str) -> list[str]:
        words = [found, "--no-config", "-c", f"source script; complete -C '{line}'"]
        done = subprocess.run(
            words, cwd=scratch, env={"HOME": str(scratch)}, capture_output=True, check=True, text=True
        )
        return [each.partition("\t")[0] for each in done.stdout.splitlines()]

    assert offered("nix sto") == ["store"]
    assert offered("nix store co") == ["copy-log"]
    assert offered("verglas profile roll") == ["rollback"]
    assert offered("nix-store --query-f") == ["--query-failed-paths"]


def test_pages_are_well_formed(scratch: Path) -> None:
    pages = {
        page_name(command): man_page(command, "1") for verbs in all_commands().values() for command in verbs.values()
    }
    assert ".SH NAME\nnix\\-env \\- " in pages["nix-env"]
    assert "\\fB\\-p\\fR, \\fB\\-\\-profile\\fR \\fIPATH\\fR" in pages["nix-env"]
    for name, page in pages.items():
        for line in page.splitlines():
            assert line[:1] != "'", name
            assert line[:1] != "." or line.split()[0] in {".TH", ".SH", ".B", ".BR", ".PP", ".TP"}, (name, line)


@pytest.mark.slow
def test_commands_print_and_write_them(run: Runner, scratch: Path) -> None:
    assert run("verglas", "completions", "fish").stdout.startswith("# Completions of Verglas for fish")
    assert "name one shell: bash, zsh, fish" in run("verglas", "completions", "csh", status=1).stderr
    run("verglas", "man-pages", "man1")
    assert (scratch / "man1" / "nix-env.1").read_text().startswith('.TH "NIX\\-ENV" 1')
