"""Exit statuses: the same in every document, and those of Nix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from profiles.man_pages import man_page
from storefs import cli, errors

if TYPE_CHECKING:
    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix

ROOT = Path(__file__).parents[2]
EVERYWHERE = {1, 100, 101, 102, 104}
PROGRAMS = (
    ("nix-build",),
    ("nix-channel",),
    ("nix-collect-garbage",),
    ("nix-copy-closure",),
    ("nix-daemon",),
    ("nix-env",),
    ("nix-env", "-q"),
    ("nix-hash",),
    ("nix-instantiate",),
    ("nix-prefetch-url",),
    ("nix-shell",),
    ("nix-store",),
    ("nix-store", "--gc"),
    ("nix",),
    ("nix", "store", "gc"),
    ("nix", "eval"),
)


def statuses(text: str) -> set[int]:
    """The numbers in a text that could be exit statuses of failures, but for those of programs that are run."""
    return {int(word) for word in re.findall(r"\b\d+\b", text)} - {0, 126, 127}


def test_documents_agree() -> None:
    readme = re.findall(r"^\| ([\d, ]+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    architecture = (ROOT / "ARCHITECTURE.md").read_text().partition("\n## Exit statuses\n")[2].partition("\n## ")[0]
    page = man_page(cli.load_verb("gc")[0], cli.VERSION).partition("EXIT STATUS")[2].partition(".SH")[0]
    assert statuses(" ".join(readme)) == EVERYWHERE
    assert statuses(architecture) == EVERYWHERE
    assert statuses(page) == EVERYWHERE
    assert statuses((errors.__doc__ or "").partition("Exit statuses")[2]) == EVERYWHERE
    assert errors.UsageError.exit_code == 1


def test_wrong_use_of_any_verb(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    for program in ("verglas", "nix"):
        for verb in cli.verbs_of(program):
            assert cli.run_command([program, *verb.split(), "--frobnicate"], environ) == 1, verb
            shown = capsys.readouterr()
            assert shown.out == ""
            assert shown.err.startswith("error: ")
            assert "'--frobnicate'" in shown.err


@pytest.mark.oracle
@pytest.mark.slow
def test_wrong_use_ends_as_with_nix(run: Runner, real_nix: RealNix) -> None:
    for program, *words in PROGRAMS:
        theirs = real_nix.result(program, *words, "--frobnicate")
        assert run(program, *words, "--frobnicate", status=None).returncode == theirs.returncode == 1, program
