"""Builds without root: in a user namespace, with the store mounted in it where a build has inputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.sandbox.compose import SHELLS

if TYPE_CHECKING:
    from tests.conftest import UserRunner

pytestmark = [pytest.mark.root, pytest.mark.slow]

EXPRESSION = """
let
  sh = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
  };
  source = builtins.toFile "source" "from a file\n";
  first = sh "first" "read line < ${source}; echo $line > $out; echo more >> $out";
in sh "second" ''
  while read line; do echo $line; done < ${first} > $out
  echo overwritten > ${first} || echo kept >> $out
''
"""


@pytest.mark.parametrize("sandbox", ["true", "false"])
def test_a_closure_is_built(run_as: UserRunner, environ: dict[str, str], scratch: Path, sandbox: str) -> None:
    environ["NIX_CONFIG"] += f"sandbox = {sandbox}\nsandbox-paths = /bin/sh={SHELLS[0]}\n"
    (scratch / "tmp").mkdir()
    os.chown(scratch / "tmp", 54321, 54321)
    environ["TMPDIR"] = str(scratch / "tmp")
    built = run_as("nix-build", "--no-out-link", "-E", EXPRESSION)
    path = built.stdout.strip()
    assert path.endswith("-second")
    content = run_as("verglas", "cat", path).stdout
    assert content == "from a file\nmore\nkept\n"
    assert run_as("nix-build", "--no-out-link", "--check", "-E", EXPRESSION).stdout == built.stdout
    assert os.listdir(scratch / "tmp") == []
    assert os.listdir(scratch / "state" / "verglas" / "builds") == []


def test_without_namespaces_it_says_what_is_missing(run_as: UserRunner) -> None:
    expression = 'derivation { name = "x"; system = builtins.currentSystem; builder = "/bin/sh"; }'
    failed = run_as("nix-build", "--no-out-link", "-E", expression, status=1, namespaces=False)
    assert "creating namespaces" in failed.stderr, failed.stderr
    assert "user namespaces" in failed.stderr
    assert "Traceback" not in failed.stderr
