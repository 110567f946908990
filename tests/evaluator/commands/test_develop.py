"""`nix develop` and `nix print-dev-env`: the environment of a package's build, in a command, and as shell code."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner

pytestmark = pytest.mark.slow

EXPRESSION = """
{ x ? "default" }: {
  p = derivation {
    name = "p-1"; system = builtins.currentSystem; builder = "/bin/bash"; args = [ ];
    FOO = "it's ${x}\\n"; stdenv = ./std;
  };
}
"""


@pytest.fixture
def expression(scratch: Path) -> Path:
    (scratch / "std").mkdir()
    (scratch / "std" / "setup").write_text('greet() { printf "%s" "hi $FOO"; }\n')
    (scratch / "default.nix").write_text(EXPRESSION)
    return scratch / "default.nix"


def test_command_runs_in_the_environment_with_its_own_options(run: Runner, expression: Path) -> None:
    words = ["develop", "-f", expression, "p", "--argstr", "x", "given", "-c", "bash", "-c", 'printf "%s" "$FOO$name"']
    assert run("nix", *words).stdout == "it's given\np-1"


def test_printed_environment_can_be_sourced(run: Runner, expression: Path, scratch: Path) -> None:
    (scratch / "env.sh").write_text(run("verglas", "print-dev-env", "-f", expression, "p").stdout)
    done = subprocess.run(
        ["/bin/bash", "-c", f". {scratch}/env.sh; greet"], capture_output=True, text=True, check=True, env={}
    )
    assert done.stdout == "hi it's default\n"


def test_one_package_at_a_time(run: Runner, expression: Path) -> None:
    assert "one package is wanted" in run("nix", "develop", "-f", expression, "p", "q", status=1).stderr
