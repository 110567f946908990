"""Options that stand before a verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from storefs.options import split_leading

if TYPE_CHECKING:
    from tests.conftest import Runner


@pytest.mark.parametrize(
    ("leading", "rest"),
    [
        ([], ["build", "--store", "/x"]),
        (["--store", "/x"], ["build", "-f", "y"]),
        (["--option", "cores", "2", "-v"], ["eval"]),
        (["--extra-experimental-features", "nix-command flakes"], ["hash", "file", "x"]),
        (["--keep-build-log"], ["log", "x"]),
        (["--version"], []),
    ],
)
def test_common_options_and_settings_may_stand_before_a_verb(leading: list[str], rest: list[str]) -> None:
    assert split_leading([*leading, *rest]) == (leading, rest)


def test_they_count_as_if_they_stood_behind_it(run: Runner) -> None:
    assert run("nix", "--extra-experimental-features", "nix-command", "--version").stdout.startswith("nix (Nix)")
    assert "Usage: verglas path-info" in run("verglas", "--option", "cores", "2", "path-info", "--help").stdout
    assert "no command is named" in run("nix", "--quiet", status=1).stderr
    assert "nonesuch" in run("nix", "--nonesuch", "path-info", "x", status=1).stderr
