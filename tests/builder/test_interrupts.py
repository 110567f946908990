"""Whoever ends a command in the middle of a build, and however: no process, mount, lock or directory stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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


def wait_for(condition: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        os.sched_yield()


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
        wait_for(lambda: len(running(pattern)) >= 2)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "interrupted by the user" in errors
    wait_for(lambda: not running(pattern))
    assert os.listdir(f"{bench.config.verglas_dir}/builds") == []
    assert os.listdir(f"{bench.config.verglas_dir}/locks") == []
    assert [name for name in os.listdir(environ["TMPDIR"]) if name.startswith("nix-build-")] == []


def test_a_killed_command_leaves_no_process(bench: Workbench) -> None:
    target = bench.derive("slow", "exec /bin/busybox sleep 47199")
    environ = bench.config.environment()
    command = [NIX_STORE, "-r", bench.store.directory.print(target)]
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: running(b"47199"))
        process.kill()
    wait_for(lambda: not running(b"47199"))
    # What is left on disk goes with the next build, and nothing is locked.
    bench.build_one(bench.derive("next", "echo > $out"))
    assert os.listdir(f"{bench.config.verglas_dir}/builds") == []
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
