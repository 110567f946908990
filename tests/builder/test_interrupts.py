"""Whoever ends a command in the middle of a build, and however: no process, mount, lock or directory stays."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.builder.workbench import Workbench

pytestmark = pytest.mark.slow

NIX_STORE = Path(sys.executable).parent / "nix-store"


def running(pattern: bytes) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if pattern in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def own_mounts(bench: Workbench) -> list[str]:
    """Where something of this store is mounted; other tests come and go."""
    scratch = os.path.dirname(bench.config.store_dir)
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(scratch)]


@pytest.mark.parametrize("sandbox", ["true", "false"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_command_cleans_up(bench: Workbench, number: signal.Signals, sandbox: str) -> None:
    pattern = f"47{number.value}{len(sandbox)}9".encode()
    target = bench.derive("slow", f"/bin/sleep {pattern.decode()} & exec /bin/sleep {pattern.decode()}")
    environ = bench.config.environment()
    environ["NIX_CONFIG"] += (
        f"sandbox = {sandbox}\nsandbox-paths = /bin/sh=/usr/bin/busybox /bin/sleep=/usr/bin/busybox\n"
    )
    command = [NIX_STORE, "-r", bench.store.directory.print(target)]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(running(pattern)) >= 2)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "interrupted by the user" in errors
    wait_until(lambda: not running(pattern))
    assert os.listdir(f"{bench.config.verglas_dir}/builds") == []
    assert os.listdir(f"{bench.config.verglas_dir}/locks") == []
    assert [name for name in os.listdir(environ["TMPDIR"]) if name.startswith("nix-build-")] == []


EXPRESSION = """
let
  sh = name: attributes: script: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
  } // attributes);
  leaf = n: sh "leaf${toString n}" { } "/bin/busybox sleep 0.0471${toString n} & echo > $out; echo > file";
  fixed = sh "fixed" {
    outputHash = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    outputHashAlgo = "sha256";
  } "/bin/busybox sleep 0.0471; echo hello > $out";
in sh "top" { inputs = map leaf [ 1 2 3 4 5 6 ] ++ [ fixed ]; outputs = [ "out" "dev" ]; }
  "for i in $inputs; do read line < $i; done; echo > $out; echo > $dev"
"""


def test_an_interrupt_at_any_moment_leaves_nothing(bench: Workbench, request: pytest.FixtureRequest) -> None:
    """From the first import to the last line, with signals as a terminal (to all) and as kill(1) (to one) send them."""
    deep = request.config.getoption("--deep")
    seed = random.randrange(1 << 30) if deep else 471
    generator = random.Random(seed)
    environ = bench.config.environment()
    command = [NIX_STORE.parent / "nix-build", "--no-out-link", "-j2", "-E", EXPRESSION]
    # Once without, so that the mount which stays is there, and to know how long it takes.
    began = time.monotonic()
    subprocess.run(command, env=environ, check=True, capture_output=True)
    duration = time.monotonic() - began
    mounts = own_mounts(bench)
    for round_number in range(50 if deep else 4):
        fresh = [*command[:-1], EXPRESSION.replace('"leaf', f'"{round_number}-leaf')]
        what = f"seed {seed}, round {round_number}"
        with subprocess.Popen(fresh, env=environ, stderr=subprocess.PIPE, start_new_session=True) as process:
            try:
                process.wait(generator.uniform(0, duration))
            except subprocess.TimeoutExpired:
                number = generator.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
                send = generator.choice([os.kill, os.killpg])
                send(process.pid, number)
            _, errors = process.communicate(timeout=120)
        assert b"Traceback" not in errors, (what, errors.decode())
        wait_until(lambda: not running(b"0.0471"))
        state = bench.config.verglas_dir
        left = {
            name: os.listdir(f"{state}/{name}") for name in ("builds", "locks") if os.path.exists(f"{state}/{name}")
        }
        assert not any(left.values()), (what, left)
        assert [name for name in os.listdir(environ["TMPDIR"]) if name.startswith("nix-build-")] == [], what
        assert own_mounts(bench) == mounts, what
    subprocess.run([NIX_STORE, "--verify", "--check-contents"], env=environ, check=True, capture_output=True)


def test_a_killed_command_leaves_no_process(bench: Workbench) -> None:
    target = bench.derive("slow", "exec /bin/busybox sleep 47199")
    environ = bench.config.environment()
    command = [NIX_STORE, "-r", bench.store.directory.print(target)]
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: running(b"47199"))
        process.kill()
    wait_until(lambda: not running(b"47199"))
    # What is left on disk goes with the next build, and nothing is locked.
    assert os.listdir(f"{bench.config.verglas_dir}/locks") != []
    bench.build_one(bench.derive("next", "echo > $out"))
    assert os.listdir(f"{bench.config.verglas_dir}/builds") == []
    assert os.listdir(f"{bench.config.verglas_dir}/locks") == []
    assert bench.build(target, timeout="1")[0].exit_code == 101


def test_a_closed_standard_error_does_not_end_a_build(bench: Workbench) -> None:
    """Row N13."""
    target = bench.derive("loud", "for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; echo done > $out")
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [NIX_STORE, "-r", bench.store.directory.print(target)]
    done = subprocess.run(
        command, env=bench.config.environment(), stdout=subprocess.PIPE, stderr=write_end, check=False
    )
    os.close(write_end)
    assert done.returncode == 0
    assert bench.read(target) == "done\n"
    assert os.listdir(f"{bench.config.verglas_dir}/builds") == []
