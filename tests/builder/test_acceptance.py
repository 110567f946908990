"""Acceptance checks of the specification's rows on builds: those that no other test makes, and where the others are.

| rows           | shown by                                                                                           |
|----------------|----------------------------------------------------------------------------------------------------|
| N1 N2 N4 N6    | `sandbox/test_enter.py`; zombies and a kill from outside (N5, N6): here                            |
| N3 N9          | here                                                                                               |
| N7 N8 N10 N14  | `sandbox/test_enter.py`; a shared mount with a blank in its name (N7): here                        |
| N11 N12        | `test_build_hook.py`, `sandbox/test_hostile.py`                                                    |
| N13            | `test_interrupts.py`                                                                               |
| M1 M3 M8       | `tests/oracle`: the same derivations as real Nix, and upstream's multiple-outputs.sh               |
| M2             | `tests/evaluator`                                                                                  |
| M4 M11         | here                                                                                               |
| M5 M6 M7       | `test_derivation_builder.py`                                                                       |
| M9 M10         | `test_substituted.py`                                                                              |
| H1 H2 H7       | `test_build_hook.py`; a thousand questions (H1): here                                              |
| H3 H4 H5 H8 H9 | `test_ssh_machines.py`, `test_remote_machines.py`; who is killed frees a slot: `test_locks.py` |
| H6             | `test_machines.py`, `test_derivation_builder.py`, `test_ssh_machines.py`                           |
| L1 L2          | `test_build_log.py`, `commands/test_nix_store.py`                                                  |
| L3             | here                                                                                               |
| V7 V9          | `test_upstream_equivalents.py`, `test_derivation_builder.py`                                       |
| V8 Y1 Y2 Y3    | `tests/storefs/daemon`                                                                             |
| Y4             | `sandbox/test_hostile.py`, `test_hostile_outputs.py`                                               |
| G10            | `test_scheduler.py`, `test_upstream_equivalents.py`                                                |
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.sandbox.compose import SHELLS
from tests.builder.sandbox.test_hostile import PRELUDE, PYTHON, SETTINGS

if TYPE_CHECKING:
    from tests.builder.workbench import Workbench
    from tests.conftest import Runner

pytestmark = pytest.mark.slow

SLEEP = "/bin/busybox sleep"


@pytest.mark.skipif(not os.path.exists(PYTHON), reason="the host has no Python in /usr")
def test_system_v_objects_of_a_build_are_its_own(bench: Workbench) -> None:
    """Row N3."""
    tables = [Path("/proc/sysvipc") / kind for kind in ("shm", "sem", "msg")]
    before = [table.read_text() for table in tables]
    script = """
assert libc.shmget(0x5647, 1000, 0o1600) >= 0
assert libc.semget(0x5647, 1, 0o1600) >= 0
assert libc.msgget(0x5647, 0o1600) >= 0
say(sum(len(open(f"/proc/sysvipc/{kind}").readlines()) - 1 for kind in ("shm", "sem", "msg")))
"""
    assert bench.build_one(bench.derive("ipc", PRELUDE + script, builder=PYTHON), **SETTINGS) == "3\n"
    assert [table.read_text() for table in tables] == before


def test_a_builder_is_seen_and_can_be_killed_from_outside(bench: Workbench) -> None:
    """Row N5."""
    target = bench.derive("victim", f"exec {SLEEP} 47201")

    def kill_when_it_runs() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    if path.read_bytes().split(b"\0")[-2:-1] == [b"47201"]:
                        os.kill(int(path.parent.name), signal.SIGKILL)
                        return

    thread = threading.Thread(target=kill_when_it_runs)
    thread.start()
    result = bench.fail(target)
    thread.join()
    assert "failed due to signal 9 (Killed)" in result.message


def test_a_thousand_orphans_are_no_obstacle(bench: Workbench) -> None:
    """Row N6: the builder is process 1 and waits for none of them; they end with it at the latest."""
    script = "i=0; while [ $i -lt 1000 ]; do (/bin/busybox true &); i=$((i + 1)); done; echo done > $out"
    assert bench.build_one(bench.derive("orphans", script)) == "done\n"


@pytest.mark.root
def test_shared_mounts_and_blanks_in_their_names_do_not_matter(bench: Workbench, scratch: Path) -> None:
    """Row N7, in a mount namespace of its own, whose mounts are shared as systemd makes them."""
    target = bench.derive("shared", f"{SLEEP} 0.5; echo > $out")
    script = f"""
        mkdir "{scratch}/a b" && mount -t tmpfs tmpfs "{scratch}/a b" && mount --make-rshared / || exit 99
        before=$(wc -l < /proc/self/mountinfo)
        nix-store -r {bench.store.directory.print(target)} > {scratch}/said 2>&1 &
        build=$!
        until grep -q building {scratch}/said; do :; done
        during=$(wc -l < /proc/self/mountinfo)
        wait $build || exit 98
        echo $before $during $(wc -l < /proc/self/mountinfo)
    """
    command = ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", script]
    done = subprocess.run(command, env=bench.config.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + (scratch / "said").read_text()
    assert len(set(done.stdout.split())) == 1, done.stdout


def test_many_builds_share_one_input_that_is_a_file(bench: Workbench, request: pytest.FixtureRequest) -> None:
    """Row N9: nothing is linked or copied, so that there is nothing to race for and size does not matter."""
    size = (2 if request.config.getoption("--deep") else 0.125) * (1 << 30)
    large = bench.derive("large", f"/bin/busybox truncate -s {size:.0f} $out")
    (made,) = bench.build(large)
    assert made.ok, made.message
    script = f"/bin/busybox stat -c %s {bench.shown(large)} > $out; : "
    targets = [bench.derive(f"user{number}", script, inputs={large: ("out",)}) for number in range(32)]
    results = bench.build(*targets, max_jobs="8")
    assert [result.message for result in results] == [""] * 32
    assert {bench.read(target) for target in targets} == {f"{size:.0f}\n"}


def test_one_output_keeps_no_other_alive(bench: Workbench, run: Runner, scratch: Path) -> None:
    """Row M4, and M11 for what is asked of the command."""
    script = "echo library > $out; echo $out > $dev; echo page > $man"
    target = bench.derive("pkg", script, outputs=("out", "dev", "man"))
    shown = bench.store.directory.print(target)
    printed = run("nix-store", "-r", f"{shown}!out", "--add-root", scratch / "root").stdout
    assert printed == f"{scratch}/root\n"
    assert run("nix-store", "-r", f"{shown}!man,dev").stdout.split() == sorted(
        bench.shown(target, name) for name in ("dev", "man")
    )
    assert "does not have" in run("nix-store", "-r", f"{shown}!nosuch", status=1).stderr
    bench.forget_temporary_roots()
    run("nix-store", "--gc", "--option", "keep-outputs", "false")
    left = [name for name in ("out", "dev", "man") if bench.store.is_valid(bench.out(target, name))]
    assert left == ["out"]


def test_a_hook_that_declines_answers_a_thousand_questions(bench: Workbench, scratch: Path) -> None:
    """Row H1: one process, however many questions. What it declines can't be built here either, which takes no time."""
    hook = scratch / "hook"
    hook.write_text(f"#!/bin/sh\necho x >> {scratch}/starts\nwhile read line; do echo '# decline' >&2; done\n")
    hook.chmod(0o755)
    targets = [bench.derive(f"t{number}", "", system="pdp11-unix") for number in range(1000)]
    results = bench.build(*targets, build_hook=str(hook), keep_going="true", max_jobs="1000")
    assert all("is required to build" in result.message for result in results)
    assert (scratch / "starts").read_text() == "x\n"


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ((), 4),
        (("-v",), 4),
        (("--quiet",), 1),
        (("--quiet", "--quiet", "--quiet", "--quiet"), 1),
        (("-v", "--quiet"), 4),
        (("--option", "verbosity", "0"), 1),
        (("--option", "verbosity", "2", "-v"), 4),
    ],
)
def test_how_much_is_said(run: Runner, environ: dict[str, str], options: tuple[str, ...], lines: int) -> None:
    """Row L3: what will be done, what is done, what the builder prints. Real Nix 2.8 knows no `verbosity`."""
    environ["NIX_CONFIG"] += f"sandbox-paths = /bin/sh={SHELLS[0]}\n"
    expression = """derivation {
        name = "said"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo hello; echo > $out" ];
    }"""
    said = run("nix-build", "--no-out-link", "-E", expression, *options).stderr
    assert "hello" in said.splitlines()
    assert len(said.splitlines()) == lines, said


@pytest.mark.parametrize(("folder", "why"), [("missing", "No such file or directory"), ("file", "Not a directory")])
def test_a_temporary_directory_that_is_none(run: Runner, scratch: Path, folder: str, why: str) -> None:
    """The name of the variable is what its user can look for."""
    (scratch / "file").touch()
    expression = 'derivation { name = "x"; system = builtins.currentSystem; builder = "/bin/sh"; }'
    said = run("nix-build", "--no-out-link", "-E", expression, status=1, TMPDIR=f"{scratch}/{folder}").stderr
    wanted = f"error: no build directory can be made in '{scratch}/{folder}', which TMPDIR names: {why}"
    assert said.splitlines()[-1] == wanted
