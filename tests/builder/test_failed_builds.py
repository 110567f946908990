"""`build-cache-failure` and `print-build-trace`: failures that are remembered, and lines about builds for programs."""

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
  bad = make "bad" "echo TRIED; exit 1" { };
  good = make "good" "echo > $out" { };
  needy = make "needy" "echo > $out" { inputs = [ bad good ]; };
  fixed = make "fixed" "echo TRIED; exit 1" { outputHash = "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="; };
}
"""
WORDS = ("nix-build", "--no-out-link", "--option", "build-cache-failure", "true", "--print-build-trace", "-A")


@pytest.fixture(autouse=True)
def tree(run: Runner, scratch: Path) -> Iterator[None]:
    (scratch / "default.nix").write_text(PACKAGES)
    yield
    run("verglas", "umount", status=None)


@pytest.mark.slow
@pytest.mark.fuse
def test_a_build_that_failed_is_not_tried_again_until_it_is_forgotten(run: Runner) -> None:
    first = run(*WORDS, "bad", status=100).stderr
    assert "TRIED" in first
    drv, out = next(line.split()[2:4] for line in first.splitlines() if line.startswith("@ build-started"))
    assert f"@ build-failed {drv} {out} 1 builder for '{drv}' failed with exit code 1" in first

    second = run(*WORDS, "bad", status=100).stderr
    assert "TRIED" not in second
    assert f"@ build-failed {drv} {out} cached" in second
    assert "failed previously (cached)" in second
    # Without the setting it is.
    assert "TRIED" in run("nix-build", "-A", "bad", status=100).stderr

    kept_going = run(*WORDS, "needy", "--keep-going", status=100).stderr
    assert "TRIED" not in kept_going
    assert [line.split()[3][-4:] for line in kept_going.splitlines() if "@ build-succeeded" in line] == ["good"]

    assert run("nix-store", "--query-failed-paths").stdout == f"{out}\n"
    run("nix-store", "--clear-failed-paths", out)
    assert run("nix-store", "--query-failed-paths").stdout == ""
    assert "TRIED" in run(*WORDS, "bad", status=100).stderr
    run("nix-store", "--clear-failed-paths", "*")
    assert run("nix-store", "--query-failed-paths").stdout == ""


@pytest.mark.slow
@pytest.mark.fuse
def test_downloads_may_work_the_next_time(run: Runner) -> None:
    for _ in range(2):
        assert "TRIED" in run(*WORDS, "fixed", status=None).stderr
    assert run("nix-store", "--query-failed-paths").stdout == ""
