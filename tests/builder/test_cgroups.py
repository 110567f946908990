"""Control groups of builds: what they took, and that nothing stays in them. On the real cgroup file system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder import cgroups
from builder.scratch import Scratch
from tests.builder.test_interrupts import running
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.builder.workbench import Workbench
    from tests.conftest import UserRunner


def why_no_groups() -> str | None:
    """Return why there can be no control groups here."""
    try:
        parent = cgroups.own_group()
        probe = f"{parent}/verglas-test-{os.getpid()}"
        os.mkdir(probe)
        os.rmdir(probe)
    except (OSError, cgroups.ControlGroupError) as error:
        return str(error)
    return None


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(reason := why_no_groups()), reason=str(reason))]

BUSY = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done"


@pytest.fixture(autouse=True)
def group() -> Iterator[Path]:
    """A group of this test's own, in which its process is meanwhile; at the end nothing else may be in it."""
    before = Path(cgroups.own_group())
    own = before / f"verglas-test-{os.getpid()}"
    own.mkdir()
    (own / "cgroup.procs").write_text("0")
    try:
        yield own
    finally:
        (before / "cgroup.procs").write_text("0")
        left = [path.name for path in own.iterdir() if path.is_dir()]
        for name in left:
            (own / name).rmdir()
        wait_until(lambda: not (own / "cgroup.procs").read_text())
        own.rmdir()
    assert left == []


@pytest.mark.parametrize("sandbox", ["true", "false"])
def test_a_build_has_a_group_of_its_own(bench: Workbench, sandbox: str) -> None:
    last_line = "while read next; do line=$next; done < /proc/self/cgroup; echo $line > $out"
    script = f"{last_line}; {BUSY} & {BUSY}; wait"
    target = bench.derive("busy", script)
    (result,) = bench.build(target, sandbox=sandbox, use_cgroups="true")
    assert result.ok, result.message
    assert bench.read(target) == "0::/\n"  # the root of a namespace of its own
    used = result.cpu_time
    assert used is not None
    # Both loops were counted, though only one of them was the builder's own process.
    alone = bench.derive("alone", f"echo > $out; {BUSY}")
    (single,) = bench.build(alone, sandbox=sandbox, use_cgroups="true")
    assert single.cpu_time is not None
    assert used.user + used.system > 1.3 * (single.cpu_time.user + single.cpu_time.system) > 0


def test_without_the_setting_nothing_is_counted(bench: Workbench) -> None:
    (result,) = bench.build(bench.derive("target", "echo > $out"))
    assert result.ok
    assert result.cpu_time is None


def test_failures_and_all_rounds_are_counted(bench: Workbench) -> None:
    bad = bench.fail(bench.derive("bad", f"{BUSY}; exit 1"), use_cgroups="true")
    assert bad.cpu_time is not None
    assert bad.cpu_time.user > 0
    (thrice,) = bench.build(bench.derive("thrice", f"{BUSY}; echo > $out"), use_cgroups="true", repeat="2")
    assert thrice.cpu_time is not None
    assert thrice.cpu_time.user > 1.5 * bad.cpu_time.user


def test_whatever_is_in_a_group_at_its_end_goes_with_it(bench: Workbench, scratch: Path) -> None:
    (scratch / "1-a" / "1").mkdir(parents=True)
    config = bench.config.with_settings([("use-cgroups", "true")])
    with subprocess.Popen(["sleep", "1000"]) as process:
        with cgroups.control_group(config, f"{scratch}/1-a/1", lambda used: None) as path:
            os.makedirs(f"{path}/inner/most")
            Path(path, "inner", "cgroup.procs").write_text(str(process.pid))
        assert process.wait(10) == -9
    assert not os.path.exists(path)


def test_a_group_whose_process_was_killed_is_removed_by_the_next(bench: Workbench, group: Path) -> None:
    target = bench.derive("slow", "exec /bin/busybox sleep 47161")
    environ = bench.config.environment()
    environ["NIX_CONFIG"] += "use-cgroups = true\n"
    program = Path(sys.executable).parent / "nix-store"
    command = [program, "-r", bench.store.directory.print(target)]
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: running(b"47161"))
        process.kill()
    assert [path.name[:10] for path in group.glob("nix-*")] == ["nix-build-"]
    wait_until(lambda: not running(b"47161"))
    scratch = Scratch(bench.config)
    scratch.open()
    scratch.close()
    assert list(group.glob("nix-*")) == []


@pytest.mark.root
def test_a_user_without_a_delegated_group_is_told_so(run_as: UserRunner, environ: dict[str, str]) -> None:
    environ["NIX_CONFIG"] += "use-cgroups = true\n"
    expression = 'derivation { name = "x"; system = builtins.currentSystem; builder = "/bin/sh"; }'
    failed = run_as("nix-build", "--no-out-link", "-E", expression, status=1)
    assert "cannot make the control group '" in failed.stderr
    assert "Delegate=yes" in failed.stderr
