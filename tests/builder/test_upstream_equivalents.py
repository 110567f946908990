"""What upstream's functional tests of builds show by writing into the store directory, shown without that.

Here the store directory is a read-only mount, for root too; where a test of Nix 2.8 changes files in it, or removes it,
it can't go on. Everything before such a line passes as it is; from there on these tests show the same:

| upstream test      | what it does to the store directory              | here                                        |
|--------------------|--------------------------------------------------|---------------------------------------------|
| multiple-outputs   | `rmdir` after a collection: nothing is left      | `test_a_collection_leaves_an_empty_store`   |
| gc-concurrent      | `touch $out.lock`, which the collector removes   | `test_locks_of_dead_builds_...`; the builds |
|                    |                                                  | during a collection: `test_scheduler`       |
| check              | `echo foo > $out`: --check compares with what is | `test_check_compares_with_what_is_...`      |
|                    | registered, --repair mends                       |                                             |
| repair             | adds and removes files, changes their contents   | `test_what_is_damaged_is_found_and_...`,    |
|                    |                                                  | `test_a_cache_mends_what_can_not_be_...`    |

All through the commands. Damage is done where the bytes are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.sandbox.compose import SHELLS
from tests.builder.test_interrupts import running
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import Runner

pytestmark = [pytest.mark.slow, pytest.mark.fuse]

BIN = Path(sys.executable).parent
# Larger than what is kept in the database, so that there are files to damage.
EXPRESSION = """
let
  sh = name: attributes: script: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
  } // attributes);
in rec {
  input = sh "input" { } "printf '%50000d' 7 > $out";
  top = sh "top" { inherit input; outputs = [ "out" "dev" ]; } "echo $input > $out; echo $out > $dev";
  slow = sh "slow" { } "/bin/busybox sleep 47189; echo > $out";
}
"""


@pytest.fixture(autouse=True)
def _shell(environ: dict[str, str], scratch: Path) -> None:
    environ["NIX_CONFIG"] += f"sandbox-paths = /bin/sh={SHELLS[0]} /bin/busybox={SHELLS[0]}\n"
    environ["TMPDIR"] = environ["HOME"]
    (scratch / "work.nix").write_text(EXPRESSION)


@pytest.fixture
def build(run: Runner, scratch: Path):  # type: ignore[no-untyped-def]
    """Builds an attribute; afterwards nothing is mounted any more."""
    yield lambda *arguments, **more: run("nix-build", scratch / "work.nix", "--no-out-link", *arguments, **more)
    run("verglas", "umount")


def damage(scratch: Path) -> None:
    """Give the one large file of the store other contents of the same length."""
    (blob,) = (path for path in (scratch / "state" / "verglas" / "blobs").rglob("*") if path.is_file())
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes().replace(b"7", b"8"))
    blob.chmod(0o444)


def content(run: Runner, path: str) -> str:
    return run("verglas", "cat", path).stdout.strip()


def test_a_collection_leaves_an_empty_store(build, run: Runner, environ: dict[str, str], scratch: Path) -> None:  # type: ignore[no-untyped-def]
    build("-A", "top.dev")
    run("nix-store", "--gc", "--option", "keep-derivations", "true", "--option", "keep-outputs", "true")
    assert run("nix-store", "--gc", "--print-live").stdout == ""
    assert run("nix-store", "--gc", "--print-dead").stdout == ""
    run("verglas", "umount")
    store = Path(environ["NIX_STORE_DIR"])
    assert not store.exists() or os.listdir(store) == []  # an ordinary user's is there in a namespace only
    assert [path for path in (scratch / "state" / "verglas" / "blobs").rglob("*") if path.is_file()] == []


def test_locks_of_dead_builds_go_and_those_of_living_ones_stay(build, environ: dict[str, str], scratch: Path) -> None:  # type: ignore[no-untyped-def]
    locks = scratch / "state" / "verglas" / "locks"
    command = [BIN / "nix-build", scratch / "work.nix", "--no-out-link", "-A", "slow"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: running(b"47189"))
        held = os.listdir(locks)
        assert [name.partition("-")[2] for name in held] == ["slow.lock"]
        build("-A", "input")
        assert os.listdir(locks) == held
        process.kill()
    wait_until(lambda: not running(b"47189"))
    assert os.listdir(locks) == held
    build("-A", "top")
    assert os.listdir(locks) == []


def test_check_compares_with_what_is_registered_and_mends_nothing(build, run: Runner, scratch: Path) -> None:  # type: ignore[no-untyped-def]
    path = build("-A", "input").stdout.strip()
    good = content(run, path)
    damage(scratch)
    assert content(run, path) != good
    build("-A", "input", "--check")
    assert content(run, path) != good
    build("-A", "input", "--repair")
    assert content(run, path) == good


def test_what_is_damaged_is_found_and_made_again(build, run: Runner, scratch: Path) -> None:  # type: ignore[no-untyped-def]
    top = build("-A", "top").stdout.strip()
    path = next(line for line in run("nix-store", "-qR", top).stdout.split() if line.endswith("-input"))
    good = content(run, path)
    run("nix-store", "--verify", "--check-contents")
    damage(scratch)
    assert "was modified" in run("nix-store", "--verify", "--check-contents", status=1).stderr
    assert "was modified" in run("nix-store", "--verify-path", path, status=1).stderr
    # By its deriver.
    run("nix-store", "--verify", "--check-contents", "--repair")
    assert content(run, path) == good
    run("nix-store", "--verify-path", path)
    # Row V9: as part of what is asked for.
    damage(scratch)
    mended = build("-A", "top", "--repair")
    assert f"found corrupted or missing path '{path}' in the output closure of" in mended.stderr
    assert content(run, path) == good


def test_a_cache_mends_what_can_not_be_built(build, run: Runner, scratch: Path) -> None:  # type: ignore[no-untyped-def]
    path = build("-A", "input").stdout.strip()
    good = content(run, path)
    cache = f"file://{scratch}/cache"
    run("nix", "copy", "--to", cache, path)
    deriver = run("nix-store", "-qd", path).stdout.strip()
    run("nix-store", "--delete", deriver)
    damage(scratch)
    # Nobody knows how it was made.
    assert run("nix-store", "--verify", "--check-contents", "--repair", status=1).stderr
    assert content(run, path) != good
    from_cache = ("--option", "substituters", cache, "--option", "require-sigs", "false")
    run("nix-store", "--verify", "--check-contents", "--repair", *from_cache)
    assert content(run, path) == good
    damage(scratch)
    run("nix-store", "--repair-path", path, *from_cache)
    assert content(run, path) == good
