"""Two other machines, reached over a network by ssh and a real sshd: what builds where, and what if one is gone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.build_log import find_build_log, read_build_log
from builder.cancellation import Cancellation
from builder.sandbox.compose import SHELLS
from storefs.api import BuildStatus
from tests.builder.ssh_machine import SshMachine, why_no_machines
from tests.conftest import BIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.builder.workbench import Workbench

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.skipif(bool(reason := why_no_machines()), reason=str(reason)),
]

SLEEP = "/bin/busybox sleep"


@pytest.fixture
def machines(bench: Workbench, scratch: Path) -> Iterator[list[SshMachine]]:
    """Two machines, the first with the feature `one`, the second with `two`."""
    shells = f"sandbox-paths = /bin/sh={SHELLS[0]} /bin/busybox={SHELLS[0]}"
    made = [
        SshMachine(number, scratch, bench.config, f"{shells}\nsystem-features = {feature}\nsubstitute = false\n")
        for number, feature in ((1, "one"), (2, "two"))
    ]
    with made[0], made[1]:
        yield made


@pytest.fixture(autouse=True)
def _plain_ssh(environ: dict[str, str]) -> None:
    environ["NIX_SSHOPTS"] = "-F none"


def where(bench: Workbench) -> dict[str, str]:
    """Which derivation was built on which machine."""
    texts = (re.search(r"-([a-z0-9]+)\.drv' on '[a-z-]+://([0-9.]+)'", text) for text in bench.told.started)
    return {found[1]: found[2] for found in texts if found}


@pytest.mark.parametrize("scheme", ["ssh", "ssh-ng"])
def test_each_derivation_is_built_where_its_features_are(
    bench: Workbench, machines: list[SshMachine], scheme: str
) -> None:
    first, second = machines
    source = bench.store.add_text("source", b"from here\n")
    shown = bench.store.directory.print(source)
    one = bench.derive(
        "one", f"echo first; read line < {shown}; echo $line > $out", sources=(source,), requiredSystemFeatures="one"
    )
    script = f"echo second; read line < {bench.shown(one)}; echo $line and there > $out; echo $out > $dev"
    two = bench.derive("two", script, outputs=("out", "dev"), inputs={one: ("out",)}, requiredSystemFeatures="two")
    builders = f"{first.line(scheme, features='one')} ; {second.line(scheme, features='two')}"
    (result,) = bench.build(two, builders=builders, max_jobs="0")
    assert result.ok, [result.message, *bench.told.errors]
    assert bench.read(two) == "from here and there\n"
    assert where(bench) == {"one": first.address, "two": second.address}
    log = find_build_log(bench.config, two)
    assert log is not None
    assert b"".join(read_build_log(log)) == b"second\n"
    assert bench.told.errors == []
    # Each has what it built and what that needed, no more.
    assert built_at(first) == {"source", "one"}
    assert built_at(second) == {"one", "two", "two-dev"}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
def test_nothing_but_ssh_is_run_for_that(bench: Workbench, machines: list[SshMachine], scratch: Path) -> None:
    """Row X4: what sends inputs and fetches outputs is this process; no program is started to copy a closure."""
    source = bench.store.add_text("source", b"from here\n")
    shown = bench.store.directory.print(source)
    drv = bench.derive("far", f"read line < {shown}; echo $line > $out", sources=(source,))
    trace = scratch / "trace"
    command = ["strace", "-f", "-qq", "-e", "trace=execve", "-e", "signal=none", "-o", str(trace)]
    command += [str(BIN / "nix-store"), "--realise", bench.store.directory.print(drv)]
    command += ["--builders", machines[0].line("ssh"), "-j0"]
    subprocess.run(command, env=bench.config.environment(), check=True, capture_output=True)
    assert bench.read(drv) == "from here\n"
    started = re.findall(r'execve\("([^"]+)".*\) = 0$', trace.read_text(), re.MULTILINE)
    assert {Path(program).name for program in started} <= {"nix-store", Path(sys.executable).name, "ssh"}
    assert {program for program in started if Path(program).name == "ssh"}
    assert not [line for line in trace.read_text().splitlines() if "copy-closure" in line or "--export" in line]


def built_at(machine: SshMachine) -> set[str]:
    """The names of the valid paths of a machine."""
    listed = machine.run("nix-store", "--gc", "--print-dead") + machine.run("nix-store", "--gc", "--print-live")
    return {line.rpartition("/")[2].partition("-")[2] for line in listed.splitlines()}


@pytest.mark.parametrize("scheme", ["ssh", "ssh-ng"])
def test_the_faster_machine_gets_more(bench: Workbench, machines: list[SshMachine], scheme: str) -> None:
    """Rows H3 and H4: the least load for its speed, as many as there are slots, and nobody waits for nothing."""
    fast, slow = machines
    builders = f"{slow.line(scheme)} ; {fast.line(scheme, jobs=2, speed='2')}"
    targets = [bench.derive(f"build{number}", f"{SLEEP} 2; echo $name > $out") for number in range(4)]
    began = os.times()
    results = bench.build(*targets, builders=builders, max_jobs="0")
    ended = os.times()
    assert [result.message for result in results] == [""] * 4
    places = list(where(bench).values())
    assert sorted(places[:3]) == sorted([fast.address, slow.address, fast.address])
    assert os.listdir(f"{bench.config.state_dir}/current-load") == []
    assert (ended.user + ended.system - began.user - began.system) < 0.5 * (ended.elapsed - began.elapsed)


def test_a_machine_for_another_system_gets_what_is_for_that(bench: Workbench, machines: list[SshMachine]) -> None:
    first, second = machines
    builders = f"{first.line('ssh-ng')} ; {second.line('ssh-ng', systems='i686-linux')}"
    near = bench.derive("native", "echo > $out")
    far = bench.derive("other", "/bin/busybox uname -m > $out", system="i686-linux")
    results = bench.build(near, far, builders=builders, max_jobs="0", system="x86_64-linux")
    # Its own settings say that it can: a kernel for x86_64 runs programs for i686.
    assert [result.message for result in results] == ["", ""]
    assert where(bench) == {"native": first.address, "other": second.address}
    assert bench.read(far) == "i686\n"


@pytest.mark.parametrize("scheme", ["ssh", "ssh-ng"])
def test_a_machine_that_can_not_be_reached_is_left_out(
    bench: Workbench, machines: list[SshMachine], scheme: str
) -> None:
    """Row H5."""
    gone, there = machines
    gone.stop_listening()
    builders = f"{gone.line(scheme, jobs=9, speed='9')} ; {there.line(scheme)}"
    targets = [bench.derive(f"build{number}", "echo > $out") for number in range(2)]
    results = bench.build(*targets, builders=builders, max_jobs="0")
    assert [result.message for result in results] == ["", ""]
    assert set(where(bench).values()) == {there.address}
    assert sum("cannot build on" in error and gone.address in error for error in bench.told.errors) in {1, 2}


def test_a_host_that_is_another_one_is_not_trusted(bench: Workbench, machines: list[SshMachine]) -> None:
    first, second = machines
    trusted = first.line("ssh-ng").rpartition(" ")[2]
    builders = f"{second.line('ssh-ng').rpartition(' ')[0]} {trusted}"
    target = bench.derive("build", "echo > $out")
    (result,) = bench.build(target, builders=builders)  # built here then
    assert result.ok, result.message
    assert where(bench) == {}
    assert any("Host key verification failed" in line for line in bench.told.words)
    assert all(error.startswith("cannot build on ") for error in bench.told.errors)


@pytest.mark.parametrize("scheme", ["ssh", "ssh-ng"])
def test_limits_hold_there_too(bench: Workbench, machines: list[SshMachine], scheme: str) -> None:
    """Row H8."""
    target = bench.derive("endless", "while :; do :; done")
    result = bench.fail(target, builders=machines[0].line(scheme), max_jobs="0", timeout="1")
    assert (result.status, result.exit_code) == (BuildStatus.TIMED_OUT, 101)
    assert "timed out after 1 seconds" in result.message
    assert machines[0].processes("while :") == []


@pytest.mark.parametrize("scheme", ["ssh", "ssh-ng"])
def test_what_is_given_up_here_ends_there(bench: Workbench, machines: list[SshMachine], scheme: str) -> None:
    machine = machines[0]
    target = bench.derive("slow", f"echo begun; exec {SLEEP} 4719")
    with Cancellation() as cancellation:

        def cancel_when_it_runs() -> None:
            deadline = time.monotonic() + 60
            while "begun" not in bench.told.lines and time.monotonic() < deadline:
                os.sched_yield()
            cancellation.cancel()

        thread = threading.Thread(target=cancel_when_it_runs)
        thread.start()
        (result,) = bench.build(target, builders=machine.line(scheme), max_jobs="0", cancellation=cancellation)
        thread.join()
    assert not result.ok
    deadline = time.monotonic() + 20
    while machine.processes("4719"):
        assert time.monotonic() < deadline
    assert os.listdir(f"{bench.config.state_dir}/current-load") == []


@pytest.mark.parametrize("scheme", ["ssh", "ssh-ng"])
def test_a_collector_there_leaves_what_is_needed(bench: Workbench, machines: list[SshMachine], scheme: str) -> None:
    """Row H9: inputs and outputs are temporary roots on the machine that builds."""
    machine = machines[0]
    near = bench.derive("near", "echo near > $out")
    bench.build(near)
    target = bench.derive(
        "far",
        f"echo begun; {SLEEP} 3; read line < {bench.shown(near)}; echo $line > $out",
        inputs={near: ("out",)},
    )
    collected: list[str] = []

    def collect_when_it_runs() -> None:
        deadline = time.monotonic() + 60
        while "begun" not in bench.told.lines and time.monotonic() < deadline:
            os.sched_yield()
        collected.append(machine.run("nix-store", "--gc"))

    thread = threading.Thread(target=collect_when_it_runs)
    thread.start()
    (result,) = bench.build(target, builders=machine.line(scheme), max_jobs="0")
    thread.join()
    assert result.ok, result.message
    assert bench.read(target) == "near\n"
    assert collected
