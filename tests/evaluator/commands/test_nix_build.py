from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Runner

pytestmark = pytest.mark.slow

PACKAGES = """
let
  make = attributes: derivation ({
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "for o in $outputs; do eval \\"p=\\\\$$o\\"; echo $name $o > $p; done" ];
    outputs = [ "out" ];
  } // attributes);
in rec {
  pkg = make { name = "pkg"; outputs = [ "out" "man" "bin" ]; };
  pkg2 = make { name = "pkg2"; };
  first = make { name = "first"; outputs = [ "first" "second" ]; };
  fail = make { name = "fail"; args = [ "-c" "echo oops >&2; exit 3" ]; };
  imported = import (make { name = "e.nix"; args = [ "-c" "echo '1 + 41' > $out" ]; });
  read = builtins.readFile pkg2;
  user = make {
    name = "user";
    man = (import pkg.drvPath).man;
    args = [ "-c" "read line < $man; echo got $line > $out" ];
  };
}
"""


@pytest.fixture
def packages(scratch: Path, run: Runner) -> Iterator[Path]:
    (scratch / "default.nix").write_text(PACKAGES)
    yield scratch
    if (scratch / "state/verglas/mounts").exists():
        run("verglas", "umount", status=None)


def links(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("result"))


def test_one_output(run: Runner, packages: Path) -> None:
    out = run("nix-build", "-A", "pkg").stdout
    assert links(packages) == ["result"]
    assert out == os.readlink(packages / "result") + "\n"
    assert run("verglas", "cat", out.strip()).stdout == "pkg out\n"


@pytest.mark.parametrize(
    ("attributes", "names"),
    [
        (["pkg.man"], ["result-man"]),
        (["pkg.all"], ["result", "result-bin", "result-man"]),
        (["pkg.all", "pkg2"], ["result", "result-2", "result-bin", "result-man"]),
        (["pkg2", "pkg.all"], ["result", "result-2", "result-2-bin", "result-2-man"]),
        (["pkg", "pkg.man", "pkg2"], ["result", "result-2", "result-man"]),
        (["first"], ["result-first"]),
    ],
)
def test_names_of_links(run: Runner, packages: Path, attributes: list[str], names: list[str]) -> None:
    words = [word for attribute in attributes for word in ("-A", attribute)]
    out = run("nix-build", *words).stdout.splitlines()
    assert links(packages) == names
    assert sorted(out) == sorted(os.readlink(packages / name) for name in names)


def test_other_link_names(run: Runner, packages: Path) -> None:
    run("nix-build", "-A", "pkg.man", "-o", "here")
    assert os.path.islink(packages / "here-man")
    run("nix-build", "-A", "pkg2", "--no-out-link")
    assert links(packages) == []


def test_failures_have_their_own_status(run: Runner, packages: Path) -> None:
    failed = run("nix-build", "-A", "fail", status=100)
    assert failed.stdout == ""
    assert "oops" in failed.stderr
    assert "failed with exit code 3" in failed.stderr
    run("nix-build", "-A", "nothing", status=1)


def test_dry_run_builds_nothing(run: Runner, packages: Path) -> None:
    shown = run("nix-build", "-A", "pkg", "--dry-run")
    assert "this derivation will be built:" in shown.stderr
    assert shown.stdout == ""
    assert links(packages) == []


def test_import_from_derivation(run: Runner, packages: Path) -> None:
    assert run("nix-instantiate", "--eval", "-A", "imported", "--read-write-mode").stdout == "42\n"
    assert run("nix-instantiate", "--eval", "-A", "read", "--read-write-mode").stdout == '"pkg2 out\\n"\n'
    refused = run(
        "nix-instantiate",
        "--eval",
        "-A",
        "imported",
        "--read-write-mode",
        "--option",
        "allow-import-from-derivation",
        "false",
        status=1,
    ).stderr
    # Already built, it still may not be asked for: whether it is there must not decide what an expression means.
    assert "allow-import-from-derivation' is disabled" in refused


def test_an_imported_derivation_is_one_again(run: Runner, packages: Path) -> None:
    (out,) = run("nix-build", "-A", "user").stdout.split()
    assert run("verglas", "cat", out).stdout == "got pkg man\n"


def test_verglas_build(run: Runner, packages: Path) -> None:
    paths = run("verglas", "build", "pkg", "--print-out-paths", "--no-link").stdout.split()
    assert [path.rpartition("-pkg")[2] for path in paths] == ["", "-man", "-bin"]
    (built,) = json.loads(run("verglas", "build", "pkg2", "--json").stdout)
    assert built["drvPath"].endswith("-pkg2.drv")
    assert run("verglas", "build", built["drvPath"], "--print-out-paths").stdout.strip() == built["outputs"]["out"]


def test_show_derivation(run: Runner, packages: Path) -> None:
    shown = json.loads(run("verglas", "show-derivation", "user", "-r").stdout)
    assert sorted(path.rpartition("/")[2].partition("-")[2] for path in shown) == ["pkg.drv", "user.drv"]
    (user,) = (entry for path, entry in shown.items() if path.endswith("-user.drv"))
    assert list(user["inputDrvs"].values()) == [["man"]]


def test_check_finds_what_is_not_deterministic(run: Runner, packages: Path) -> None:
    run("nix-build", "-A", "pkg2", "--no-out-link")
    run("nix-build", "-A", "pkg2", "--no-out-link", "--check")
    (packages / "random.nix").write_text(
        'derivation { name = "r"; system = builtins.currentSystem; builder = "/bin/sh"; '
        'args = [ "-c" "read x < /proc/sys/kernel/random/uuid; echo $x > $out" ]; }'
    )
    run("nix-build", "random.nix", "--no-out-link")
    assert "may not be deterministic" in run("nix-build", "random.nix", "--no-out-link", "--check", status=104).stderr


def test_a_disk_that_runs_low_while_a_build_runs_is_collected(run: Runner, packages: Path) -> None:
    """What builders write is added when they end: until then nobody would have looked."""
    (packages / "garbage").write_text("garbage")
    garbage = run("nix-store", "--add", packages / "garbage").stdout.strip()
    free = packages / "free"
    free.write_text("1100")
    # Ends when the garbage is gone, or with the time limit.
    wait = f"echo 100 > {free}; while [ -e {garbage} ]; do :; done; echo > $out"
    expression = f"""
        derivation {{
          name = "waits"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "{wait}" ];
        }}
    """
    limits = ("--min-free", "1000", "--max-free", "2000", "--min-free-check-interval", "1", "--timeout", "60")
    words = ("-E", expression, "--no-out-link", "--option", "sandbox", "false", *limits)
    assert "running auto-GC" in run("nix-build", *words, _NIX_TEST_FREE_SPACE_FILE=str(free)).stderr
    run("nix-store", "--check-validity", garbage, status=1)
