"""The demo's packages, evaluated and built by us and by real Nix: the same derivations, outputs and bytes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.ordinary_user import ROOT

if TYPE_CHECKING:
    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix

pytestmark = pytest.mark.oracle

PACKAGES = str(ROOT / "demo/packages")
OUTPUTS = ("tally_1_0.out", "tally_1_0.man", "tally_1_0.dev", "tally_1_1.out", "tally_1_1.man", "poems", "hello-tally")
SELECTED = tuple(word for output in OUTPUTS for word in ("-A", output))
SANDBOX_PATHS = "/usr /lib? /lib64? /bin/sh=/bin/busybox"

# What Nix keeps about a path, apart from when it came.
QUERY = """
nix-build "$@" --no-out-link >paths
for path in $(cat paths); do
    for what in --hash --size --references --deriver; do nix-store -q $what $path | sort; done
done
"""


def test_evaluates_to_the_same_derivations(real_nix: RealNix, run: Runner) -> None:
    theirs = real_nix.run("nix-instantiate", PACKAGES).decode().split()
    assert len(theirs) == 4  # two of the five attributes are one derivation
    assert run("nix-instantiate", PACKAGES).stdout.split() == theirs


def test_evaluates_to_the_same_values(real_nix: RealNix, run: Runner) -> None:
    """Strict evaluation to JSON shows every attribute, among them all output paths."""
    question = ("--eval", "--strict", "--json", "-E", f"builtins.mapAttrs (_: p: p.all) (import {PACKAGES} {{ }})")
    theirs = json.loads(real_nix.run("nix-instantiate", *question))
    assert json.loads(run("nix-instantiate", *question).stdout) == theirs


@pytest.mark.slow
@pytest.mark.fuse
@pytest.mark.skipif(os.geteuid() != 0, reason="real Nix's diverted store needs root in many containers")
def test_builds_to_the_same_bytes(real_nix: RealNix, run: Runner) -> None:
    settings = f"sandbox-paths = {SANDBOX_PATHS}\n"
    query = ["sh", "-euc", QUERY, "sh", PACKAGES, *SELECTED]
    real_nix.env["NIX_CONFIG"] += settings
    theirs = real_nix.shell(query)
    ours = run("verglas", "run", *query, NIX_CONFIG="substituters =\nbuild-users-group =\n" + settings).stdout
    assert ours.splitlines() == theirs.decode().splitlines()
    assert "sha256:" in ours
