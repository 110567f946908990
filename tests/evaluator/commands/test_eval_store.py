"""`--eval-store`: derivations and sources in one store, what is built in another."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Runner

PACKAGES = """
let
  make = name: script: attributes: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
    src = ./source;
  } // attributes);
in rec {
  inner = make "inner" "read x < $src; echo $x inner > $out" { };
  outer = make "outer" "read x < $inner; echo $x outer > $out" { inherit inner; };
  imported = make "imported" "echo 1 > $out" { fromInner = builtins.readFile inner; };
}
"""


@pytest.fixture
def tree(run: Runner, scratch: Path) -> Iterator[Path]:
    (scratch / "default.nix").write_text(PACKAGES)
    (scratch / "source").write_text("source\n")
    (scratch / "etc").mkdir(exist_ok=True)
    yield scratch
    run("verglas", "umount", "--store", scratch / "eval", status=None)
    run("verglas", "umount", status=None)


def names(run: Runner, *words: str | Path) -> list[str]:
    listed = run("nix", "path-info", "--all", *words).stdout.split()
    return sorted(os.path.basename(path)[33:] for path in listed)


@pytest.mark.slow
@pytest.mark.fuse
@pytest.mark.parametrize("command", [["nix-build", "-A"], ["nix", "build", "-f", "default.nix", "--print-out-paths"]])
def test_derivations_stay_in_the_store_they_were_evaluated_in(run: Runner, tree: Path, command: list[str]) -> None:
    mounting = ["--option", "auto-mount", "true"]
    out = run(*command, "outer", "--eval-store", tree / "eval", *mounting).stdout.strip()
    assert run("verglas", "cat", out).stdout == "source inner outer\n"
    assert names(run) == ["inner", "outer", "source"]
    assert names(run, "--store", tree / "eval") == ["inner.drv", "outer.drv", "source"]
    # Its files can be seen where it lies.
    assert sorted(path[33:] for path in os.listdir(tree / "eval/nix/store")) == ["inner.drv", "outer.drv", "source"]
    # The second time nothing is built, and that needs no derivation here either.
    assert run(*command, "outer", "--eval-store", tree / "eval").stdout.strip() == out


@pytest.mark.slow
@pytest.mark.fuse
def test_instantiating_writes_nothing_else(run: Runner, tree: Path) -> None:
    drv = run("nix-instantiate", "-A", "inner", "--eval-store", tree / "eval", "--add-root", "root").stdout.strip()
    assert names(run) == []
    assert names(run, "--store", tree / "eval") == ["inner.drv", "source"]
    run("nix-collect-garbage", "--store", tree / "eval")
    assert names(run, "--store", tree / "eval") == ["inner.drv", "source"]
    assert os.path.basename(os.readlink(tree / "root"))[33:] == "inner.drv"
    assert os.readlink(drv) == os.readlink(tree / "root")


@pytest.mark.slow
@pytest.mark.fuse
def test_what_is_built_is_read_by_the_expression(run: Runner, tree: Path) -> None:
    out = run("nix-build", "--no-out-link", "-A", "imported", "--eval-store", tree / "eval").stdout.strip()
    assert run("verglas", "cat", out).stdout == "1\n"
    assert "inner" in names(run, "--store", tree / "eval")


@pytest.mark.slow
@pytest.mark.fuse
def test_damaged_outputs_are_repaired(run: Runner, tree: Path) -> None:
    words = ("nix-build", "--no-out-link", "-A", "inner", "--eval-store", tree / "eval")
    out = run(*words).stdout
    assert run(*words, "--repair").stdout == out
    assert run(*words, "--check").stdout == out
    planned = run("nix-build", "-A", "outer", "--dry-run", "--eval-store", tree / "eval").stderr
    assert "this derivation will be built" in planned
    assert "-outer.drv" in planned
