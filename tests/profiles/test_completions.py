"""Completions and manual pages: generated for every command, and accepted by those who read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from profiles.all_commands import all_commands
from profiles.completions import SHELLS, script
from profiles.man_pages import man_page, page_name
from tests.profiles.completing_shells import offers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_verbs_options_and_files_are_offered(scratch: Path, shell: str) -> None:
    (scratch / "profile.yaml").write_text("")
    expected = {
        "verglas prof": {"profile"},
        "verglas profile rollb": {"rollback"},
        "verglas profile rollback --t": {"--to"},
        "nix sto": {"store"},
        "nix store c": {"cat", "copy-log"},
        "nix store copy-log --fr": {"--from"},
        "nix hash to-": {"to-base16", "to-base32", "to-base64", "to-sri"},
        "nix-env --roll": {"--rollback"},
        "nix-store --query-f": {"--query-failed-paths"},
        "nix-channel --vers": {"--version"},
        "verglas profile apply --file prof": {"profile.yaml"},
        "verglas add-file prof": {"profile.yaml"},
        "nix-build prof": {"profile.yaml"},
    }
    assert dict(zip(expected, offers(shell, scratch, list(expected)), strict=True)) == expected


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_has_its_verbs_and_its_options(scratch: Path, shell: str) -> None:
    expected = {}
    for program, verbs in all_commands().items():
        for verb, command in verbs.items():
            words = {word for option in command.options if not option.hidden for word in option.spellings}
            expected[f"{program} {verb} --".replace("  ", " ")] = {word for word in words if word.startswith("--")}
        if "" not in verbs:
            expected[f"{program} "] = {verb.partition(" ")[0] for verb in verbs}
    answers = dict(zip(expected, offers(shell, scratch, list(expected)), strict=True))
    assert {line: words - answers[line] for line, words in expected.items() if words - answers[line]} == {}
    assert answers["nix store copy-log --"] & {"--index-debug-info", "--attr"} == set()


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
