"""Building for a store that keeps whole NARs: a machine builds, the store gets what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Runner

PACKAGES = """
let make = name: script: attributes: derivation ({
  inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
} // attributes);
in rec {
  inner = make "inner" "echo inner > $out" { };
  outer = make "outer" "echo $inner > $out" { inherit inner; };
  bad = make "bad" "exit 1" { };
  odd = make "odd" "echo > $out" { system = "odd-system"; };
}
"""
HERE = ("--builders", "auto - - 1 1", "-j0")


@pytest.fixture
def cache(run: Runner, scratch: Path) -> Iterator[tuple[str, ...]]:
    (scratch / "default.nix").write_text(PACKAGES)
    yield ("nix-build", "--store", f"file://{scratch}/cache")
    run("verglas", "umount", status=None)


@pytest.mark.slow
@pytest.mark.fuse
def test_outputs_and_what_they_need_come_to_the_cache(run: Runner, scratch: Path, cache: tuple[str, ...]) -> None:
    refused = run(*cache, "-A", "outer", status=None)
    assert refused.returncode != 0
    assert "--builders 'auto - - 1 1'" in refused.stderr
    out = run(*cache, "-A", "outer", *HERE).stdout.strip()
    store = ("--store", cache[2])
    assert run("nix", "path-info", "-r", *store, out).stdout.count("\n") == 2
    inner = run("nix", "store", "cat", *store, out).stdout.strip()
    assert run("nix", "store", "cat", *store, inner).stdout == "inner\n"
    assert not (scratch / "result").is_symlink()
    # Nobody has to build it again.
    assert run(*cache, "-A", "outer", "-j0").stdout.strip() == out


@pytest.mark.slow
@pytest.mark.fuse
def test_failures_there_are_failures_here(run: Runner, scratch: Path, cache: tuple[str, ...]) -> None:
    assert "failed with exit code 1" in run(*cache, "-A", "bad", *HERE, status=100).stderr
    assert "needs a machine" in run(*cache, "-A", "odd", *HERE, status=None).stderr
