"""Many derivations: order, limits, failures, and several builders that want the same."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from builder import jobs
from builder.cancellation import Cancellation
from builder.open import open_builder
from storefs.api import BuildMode, BuildStatus
from storefs.errors import StoreError
from storefs.formats.derived_path import DerivedPath
from tests.builder.workbench import Workbench

if TYPE_CHECKING:
    from storefs.formats.store_path import StorePath
    from tests.conftest import Runner

pytestmark = pytest.mark.slow

SLEEP = "/bin/busybox sleep"
_SHORT = "3"  # seconds; what ends at once ends within them on a busy machine, too


def chain(bench: Workbench, length: int) -> list[StorePath]:
    """Derivations of which each needs the one before."""
    made: list[StorePath] = []
    for number in range(length):
        before = made[-1:]
        text = "".join(f"read line < {bench.shown(path)}; echo $line; " for path in before)
        inputs = dict.fromkeys(before, ("out",))
        made.append(bench.derive(f"link{number}", f"({text} echo {number}) > $out", inputs=inputs))
    return made


def running(pattern: bytes) -> list[str]:
    """The processes whose command line contains `pattern`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if pattern in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_inputs_are_built_before_what_needs_them(bench: Workbench) -> None:
    links = chain(bench, 4)
    (result,) = bench.build(links[-1], max_jobs="3")
    assert result.ok, result.message
    built = [text.rsplit("-", 1)[1].rstrip("'") for text in bench.told.started]
    assert built == [f"link{number}.drv" for number in range(4)]
    assert bench.build(*links)[0].status is BuildStatus.ALREADY_VALID


def test_results_come_in_the_order_of_the_targets(bench: Workbench) -> None:
    targets = [bench.derive(f"target{number}", f"echo {number} > $out") for number in (3, 1, 2)]
    results = bench.build(*targets, max_jobs="2")
    assert [result.target.path for result in results] == targets
    assert [result.outputs["out"] for result in results] == [bench.out(target) for target in targets]


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_builds_run_than_are_allowed(bench: Workbench, scratch: Path, jobs: int) -> None:
    counter = scratch / "running"
    counter.mkdir()
    counter.chmod(0o777)
    # All that may run wait for each other; who comes in spite of that has a moment in which to be seen.
    script = f"""
        echo > /running/$name
        while [ ! -e /running/.enough ]; do
            [ $(/bin/busybox ls /running | /bin/busybox wc -l) -lt {jobs} ] || echo > /running/.enough
        done
        {SLEEP} 0.2
        /bin/busybox ls /running | /bin/busybox wc -l > $out
        /bin/busybox rm /running/$name"""
    targets = [bench.derive(f"target{number}", script) for number in range(6)]
    results = bench.build(
        *targets,
        max_jobs=str(jobs),
        timeout="60",
        sandbox_paths=f"{' '.join(bench.config.words('sandbox-paths'))} /running={counter}",
    )
    assert [result.message for result in results] == [""] * 6
    assert max(int(bench.read(target)) for target in targets) == jobs


def test_without_keep_going_the_first_failure_ends_the_others(bench: Workbench) -> None:
    bad = bench.derive("bad", "exit 1")
    slow = bench.derive("slow", f"{SLEEP} 4712; echo > $out")
    began = time.monotonic()
    results = bench.build(bad, slow, max_jobs="2")
    assert time.monotonic() - began < 60
    assert [result.status for result in results] == [BuildStatus.PERMANENT_FAILURE, BuildStatus.MISC_FAILURE]
    assert results[1].message == ""
    assert [result.exit_code for result in results] == [100, 100]
    assert not running(b"4712")


def test_with_keep_going_what_can_be_built_is(bench: Workbench) -> None:
    bad, good = bench.derive("bad", "exit 1"), bench.derive("good", "echo > $out")
    worse = bench.derive("worse", "exit 2")
    needs_both = bench.derive("needs", "echo > $out", inputs={bad: ("out",), good: ("out",), worse: ("out",)})
    results = bench.build(needs_both, good, keep_going="true")
    assert [result.status for result in results] == [BuildStatus.DEPENDENCY_FAILED, BuildStatus.BUILT]
    assert results[0].message.startswith("2 dependencies of derivation '")
    assert len(bench.told.errors) == 2
    assert results[0].exit_code == 100


def test_with_keep_going_what_lacks_an_input_fails_when_its_last_need_has_succeeded(bench: Workbench) -> None:
    bad = bench.derive("bad", "exit 1")
    first = bench.derive("first", "echo > $out")
    late = bench.derive("late", "echo > $out", inputs={first: ("out",)})
    needs_both = bench.derive("needs", "echo > $out", inputs={bad: ("out",), late: ("out",)})
    (result,) = bench.build(needs_both, keep_going="true")
    assert result.status is BuildStatus.DEPENDENCY_FAILED
    assert result.exit_code == 100


def test_exit_codes_of_several_failures_are_joined(bench: Workbench) -> None:
    bad = bench.derive("bad", "exit 1")
    late = bench.derive("late", f"{SLEEP} 600")
    top = bench.derive("top", "echo", inputs={bad: ("out",), late: ("out",)})
    (result,) = bench.build(top, keep_going="true", timeout=_SHORT)
    assert result.exit_code == 100 | 101


HELLO = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
OTHER = "0" * 64


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ({"fail"}, 100),
        ({"slow"}, 101),
        ({"wrong"}, 102),
        ({"reject"}, 1),
        ({"fail", "slow"}, 100 | 101),
        ({"fail", "wrong"}, 100 | 102),
        ({"slow", "wrong"}, 101 | 102),
        ({"fail", "slow", "wrong"}, 100 | 101 | 102),
        ({"reject", "wrong"}, 102),
    ],
)
def test_every_way_to_fail_has_its_bits(bench: Workbench, names: set[str], code: int) -> None:
    """With --keep-going, and something that succeeds beside them."""
    targets = {
        "fail": lambda: bench.derive("fail", "exit 1"),
        "slow": lambda: bench.derive("slow", f"{SLEEP} 600"),
        "wrong": lambda: bench.derive("wrong", "echo hello > $out", fixed=("sha256", OTHER)),
        "reject": lambda: bench.derive("reject", "true"),
    }
    good = bench.derive("good", "echo > $out")
    results = bench.build(good, *(targets[name]() for name in sorted(names)), keep_going="true", timeout=_SHORT)
    assert results[0].ok
    assert {result.exit_code for result in results[1:]} == {code}
    assert all(result.message for result in results[1:])


def test_checking_has_its_bits_too(bench: Workbench) -> None:
    random = bench.derive("random", "read id < /proc/sys/kernel/random/uuid; echo $id > $out")
    file = Path(bench.config.variable("TMPDIR"), "contents")
    file.parent.chmod(0o755)
    file.write_text("hello\n")
    changing = bench.derive("changing", "/bin/busybox cat /contents > $out", fixed=("sha256", HELLO))
    settings = {"sandbox_paths": f"/bin/sh=/usr/bin/busybox /bin/busybox=/usr/bin/busybox /contents={file}"}
    assert all(result.ok for result in bench.build(random, changing, **settings))
    file.write_text("something else\n")
    results = bench.build(random, changing, mode=BuildMode.CHECK, keep_going="true", **settings)
    assert [result.exit_code for result in results] == [102 | 104] * 2


def test_no_jobs_at_all_is_said(bench: Workbench) -> None:
    with pytest.raises(StoreError, match="unable to start any build"):
        bench.build(bench.derive("target", "echo > $out"), max_jobs="0")


def test_a_derivation_that_is_not_there_is_said(bench: Workbench) -> None:
    target = bench.derive("target", "echo > $out")
    other = type(target)(target.base_name.replace("target", "nonesuch"))
    with pytest.raises(StoreError, match=r"cannot build missing derivation '.*nonesuch\.drv'"):
        bench.build(other)


def test_a_path_that_nobody_has_is_said(bench: Workbench) -> None:
    target = bench.derive("target", "echo > $out")
    (result,) = bench.build(DerivedPath(bench.out(target)))
    assert "is required, but there is no substituter that can build it" in result.message


def test_two_builders_build_one_derivation_once(bench: Workbench) -> None:
    """The second waits for the first and finds it valid, as another process does."""
    target = bench.derive("target", f"echo once; {SLEEP} 0.5; echo > $out")
    other = Workbench(bench.config)
    results = []

    def build(bench: Workbench) -> None:
        results.append(bench.build(target)[0].status)

    threads = [threading.Thread(target=build, args=(each,)) for each in (bench, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.store.close()
    assert all(status in {BuildStatus.BUILT, BuildStatus.ALREADY_VALID} for status in results)
    assert bench.told.lines + other.told.lines == ["once"]
    waits = bench.told.waits + other.told.waits
    assert any(text.startswith("waiting for lock on '") for text in waits) or BuildStatus.ALREADY_VALID in results


def test_cancelling_leaves_nothing(bench: Workbench) -> None:
    target = bench.derive("target", f"{SLEEP} 4713 & {SLEEP} 4713; echo > $out")
    with Cancellation() as cancellation:

        def cancel_when_running() -> None:
            while not running(b"4713"):
                pass
            cancellation.cancel()

        thread = threading.Thread(target=cancel_when_running)
        thread.start()
        (result,) = bench.build(target, cancellation=cancellation)
        thread.join()
    assert not result.ok
    assert not running(b"4713")
    assert os.listdir(f"{bench.config.verglas_dir}/builds") == []
    assert os.listdir(f"{bench.config.verglas_dir}/locks") == []
    assert os.listdir(bench.config.variable("TMPDIR")) == []


@pytest.mark.parametrize("step", ["before a job begins", "before its report is counted"])
def test_an_interrupt_between_two_steps_is_not_waited_for(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    targets = [bench.derive("quick", "echo > $out"), bench.derive("slow", f"{SLEEP} 4716; echo > $out")]
    report = jobs.Jobs.report
    calls = 0

    def before_it_begins(*_: object) -> int:
        raise KeyboardInterrupt

    def before_it_is_counted(self: jobs.Jobs, seconds: float | None) -> object:
        nonlocal calls
        calls += 1
        if calls > 1:
            return report(self, seconds)
        self._reports.get()
        raise KeyboardInterrupt

    if step == "before a job begins":
        monkeypatch.setattr(jobs, "start_new_thread", before_it_begins)
    else:
        monkeypatch.setattr(jobs.Jobs, "report", before_it_is_counted)
    raised: list[BaseException] = []

    def build() -> None:
        try:
            bench.build(*targets, max_jobs="2")
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=build, daemon=True)
    thread.start()
    thread.join(20)
    assert [type(error) for error in raised] == [KeyboardInterrupt]
    assert not running(b"4716")


def test_a_cancelled_task_ends_its_builds(bench: Workbench) -> None:
    target = bench.derive("target", f"{SLEEP} 4714; echo > $out")

    async def main() -> None:
        async with open_builder(bench.config, bench.store, bench.told) as builder:
            with trio.move_on_after(1):
                await builder.build([DerivedPath(target, ())])
                raise AssertionError("it was not cancelled")
            assert not running(b"4714")

    trio.run(main)


def test_tasks_build_side_by_side(bench: Workbench) -> None:
    targets = [bench.derive(f"target{number}", "echo > $out") for number in range(4)]
    results = []

    async def main() -> None:
        async with open_builder(bench.config, bench.store, bench.told) as builder, trio.open_nursery() as nursery:

            async def build(target: StorePath) -> None:
                results.extend(await builder.build([DerivedPath(target, ())]))

            for target in targets:
                nursery.start_soon(build, target)

    trio.run(main)
    assert [result.status for result in results] == [BuildStatus.BUILT] * 4


def test_what_would_be_done_is_told_without_doing_it(bench: Workbench) -> None:
    links = chain(bench, 3)
    bench.build(links[0])

    async def main() -> None:
        async with open_builder(bench.config, bench.store) as builder:
            missing = await builder.missing([DerivedPath(links[-1], ())])
            assert missing.will_build == frozenset(links[1:])
            assert not missing.will_substitute
            assert not missing.unknown

    trio.run(main)
    assert not bench.store.is_valid(bench.out(links[1]))


def test_checking_what_was_never_built_is_refused(bench: Workbench) -> None:
    with pytest.raises(StoreError, match="are not valid, so checking is not possible"):
        bench.build(bench.derive("target", "echo > $out"), mode=BuildMode.CHECK)


def test_a_derivation_is_rebuilt_by_a_process_that_was_killed_before(bench: Workbench) -> None:
    """What a dead process left in the scratch folder is removed by the next one."""
    left = Path(bench.config.verglas_dir, "builds", "1-dead", "1", "store")
    left.mkdir(parents=True)
    (left / "file").write_text("left behind")
    bench.build_one(bench.derive("target", "echo > $out"))
    assert os.listdir(left.parents[2]) == []


def test_a_build_survives_the_collector(bench: Workbench, run: Runner, scratch: Path) -> None:
    """Row G10: what a running build needs and makes is no garbage, though nothing else refers to it."""
    flags = scratch / "flags"
    flags.mkdir()
    flags.chmod(0o777)
    dependency = bench.derive("dependency", "echo dependency > $out")
    script = f"""
        echo > /flags/running
        until [ -e /flags/collected ]; do :; done
        read line < {bench.shown(dependency)}; echo $line > $out"""
    target = bench.derive("target", script, inputs={dependency: ("out",)})
    paths = f"{' '.join(bench.config.words('sandbox-paths'))} /flags={flags}"
    results = []
    thread = threading.Thread(target=lambda: results.append(bench.build(target, sandbox_paths=paths)[0]))
    thread.start()
    while not (flags / "running").exists():
        pass
    run("nix-store", "--gc")
    (flags / "collected").touch()
    thread.join()
    assert results[0].ok, results[0].message
    assert bench.read(target) == "dependency\n"
