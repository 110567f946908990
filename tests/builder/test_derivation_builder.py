"""One derivation at a time: what its builder gets, and what may become of its outputs."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.build_log import find_build_log, read_build_log
from storefs.api import BuildMode, BuildStatus
from storefs.formats.derived_path import DerivedPath

if TYPE_CHECKING:
    from tests.builder.workbench import Workbench

pytestmark = pytest.mark.slow

HELLO = hashlib.sha256(b"hello\n").hexdigest()


@pytest.fixture(params=["true", "false"], ids=["sandbox", "open"])
def sandbox(request: pytest.FixtureRequest) -> str:
    """The setting `sandbox`: what is tested must hold with and without."""
    return str(request.param)


def test_an_output_is_registered_with_what_it_refers_to(bench: Workbench, sandbox: str) -> None:
    dependency = bench.derive("dependency", "echo dependency > $out")
    bench.build_one(dependency, sandbox=sandbox)
    target = bench.derive(
        "target",
        f"echo $out {bench.shown(dependency)} > $out; read line < $out; echo $line",
        inputs={dependency: ("out",)},
    )
    (result,) = bench.build(target, sandbox=sandbox)
    assert result.status is BuildStatus.BUILT, result.message
    info = bench.store.path_info(bench.out(target))
    assert info.references == tuple(sorted([bench.out(target), bench.out(dependency)]))
    assert info.deriver == target
    assert info.ultimate
    assert info.ca == ""
    log = find_build_log(bench.config, target)
    assert log is not None
    assert b"".join(read_build_log(log)).decode() == bench.read(target)
    assert bench.told.lines == [bench.read(target).strip()]
    assert bench.build(target)[0].status is BuildStatus.ALREADY_VALID


def test_nothing_is_left_on_the_host(bench: Workbench, sandbox: str) -> None:
    for script in ("echo > $out", "exit 1", "mkdir $out; chmod 0 $out; exit 1"):
        bench.build(bench.derive("target", script.replace("mkdir", "/bin/mkdir"), PATH="/bin"), sandbox=sandbox)
    assert os.listdir(bench.config.variable("TMPDIR")) == []
    assert os.listdir(f"{bench.config.verglas_dir}/builds") == []
    assert os.listdir(f"{bench.config.verglas_dir}/locks") == []


def test_only_missing_outputs_are_built_again(bench: Workbench, sandbox: str) -> None:
    """Rows M5 and M6: what is valid stays, and what is new refers to it by its real path."""
    script = """
        echo $$ > $kept
        echo $kept > $new
        ln -s $kept $link
    """
    target = bench.derive("target", script, outputs=("kept", "new", "link"), PATH="/bin:/usr/bin")
    settings = {"sandbox": sandbox, "sandbox_paths": "/bin/sh=/usr/bin/busybox /bin/ln=/usr/bin/busybox"}
    first = bench.build(target, **settings)
    assert first[0].ok, first[0].message
    hashes = {name: bench.store.path_info(path).nar_hash for name, path in first[0].outputs.items()}
    kept = bench.store.path_info(bench.out(target, "kept"))
    gone = [bench.out(target, "new"), bench.out(target, "link")]
    bench.forget_temporary_roots()
    with contextlib.closing(bench.store.collector()) as collector:
        collector.delete(gone)
    (second,) = bench.build(target, **settings)
    assert second.status is BuildStatus.BUILT, second.message
    assert {name: bench.store.path_info(path).nar_hash for name, path in second.outputs.items()} == hashes
    assert bench.store.path_info(bench.out(target, "kept")) == kept
    assert bench.store.path_info(bench.out(target, "new")).references == (bench.out(target, "kept"),)


def test_outputs_that_refer_to_each_other_are_refused(bench: Workbench, sandbox: str) -> None:
    target = bench.derive("cyclic", "echo $b > $a; echo $c > $b; echo $a > $c", outputs=("a", "b", "c"))
    result = bench.fail(target, sandbox=sandbox)
    assert "cycle detected in build of" in result.message
    assert not bench.store.valid_paths([bench.out(target, name) for name in "abc"])


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (":", "failed to produce output path for output 'out'"),
        ("echo > $out; chmod 666 $out", "suspicious ownership or permission"),
        ("exit 3", "failed with exit code 3"),
        ("kill -9 $$; exec sh -c 'kill -9 $$'; exit 4", "failed"),
    ],
)
def test_what_goes_wrong_is_named(bench: Workbench, script: str, text: str) -> None:
    target = bench.derive("target", script.replace("chmod", "/bin/busybox chmod"))
    assert text in bench.fail(target).message
    assert not bench.store.is_valid(bench.out(target))


def test_a_failure_shows_the_end_of_the_log(bench: Workbench) -> None:
    bench.told.show_logs = False
    target = bench.derive("target", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i; done; exit 1")
    result = bench.fail(target)
    assert result.exit_code == 100
    assert result.message.split("\n")[1:] == [
        "last 10 log lines:",
        *(f"> line {number}" for number in range(3, 13)),
        f"For full logs, run 'nix log {bench.store.directory.print(target)}'.",
    ]


def test_a_builder_that_is_not_there_is_named(bench: Workbench) -> None:
    result = bench.fail(bench.derive("target", "", builder="/bin/nonesuch"))
    assert "executing '/bin/nonesuch': No such file or directory" in result.message
    assert result.exit_code == 100


def test_an_environment_that_is_too_large_is_named_and_passes_as_a_file(bench: Workbench) -> None:
    """Row X5: 3 MB are more than execve(2) takes."""
    large = "0123456789" * 300_000
    result = bench.fail(bench.derive("target", "echo > $out", large=large))
    assert "executing '/bin/sh': Argument list too long" in result.message
    assert result.exit_code == 100
    target = bench.derive("target", "/bin/busybox wc -c < $largePath > $out", large=large, passAsFile="large")
    (result,) = bench.build(target)
    assert result.ok, result.message
    assert bench.read(target) == "3000000\n"


def test_a_fixed_output_has_the_promised_hash(bench: Workbench, sandbox: str) -> None:
    target = bench.derive("fixed", "echo hello > $out", fixed=("sha256", HELLO))
    assert bench.build_one(target, sandbox=sandbox) == "hello\n"
    assert bench.store.path_info(bench.out(target)).ca.startswith("fixed:sha256:")


def test_another_hash_is_an_error_that_tells_both(bench: Workbench) -> None:
    target = bench.derive("fixed", "echo goodbye > $out", fixed=("sha256", HELLO))
    result = bench.fail(target)
    assert result.exit_code == 102
    lines = result.message.split("\n")
    assert lines[0].startswith("hash mismatch in fixed-output derivation '")
    assert lines[1].split() == ["specified:", "sha256-WJG1tSLV3whtD/CxEPvZ0hu0/HFjrzTQgoai6Eb2vgM="]
    assert lines[2].split()[0] == "got:"
    # What was made can be used under its real name, as with Nix.
    honest = bench.derive("fixed", "exit 1", fixed=("sha256", hashlib.sha256(b"goodbye\n").hexdigest()))
    assert bench.build(honest)[0].status is BuildStatus.ALREADY_VALID


def test_a_fixed_output_may_not_refer_to_the_store(bench: Workbench) -> None:
    dependency = bench.derive("dependency", "echo > $out")
    text = f"{bench.shown(dependency)}\n"
    target = bench.derive(
        "fixed",
        f"echo {bench.shown(dependency)} > $out",
        inputs={dependency: ("out",)},
        fixed=("sha256", hashlib.sha256(text.encode()).hexdigest()),
    )
    assert "may not refer to store paths" in bench.fail(target).message


def test_check_finds_what_is_not_deterministic(bench: Workbench, sandbox: str) -> None:
    steady = bench.derive("steady", "echo steady > $out")
    bench.build_one(steady, sandbox=sandbox)
    assert bench.build(steady, mode=BuildMode.CHECK, sandbox=sandbox)[0].ok
    random = bench.derive("random", "read id < /proc/sys/kernel/random/uuid; echo $id > $out")
    before = bench.build_one(random, sandbox=sandbox)
    result = bench.fail(random, BuildMode.CHECK, sandbox=sandbox)
    assert (result.status, result.exit_code) == (BuildStatus.NOT_DETERMINISTIC, 104)
    assert "may not be deterministic: output" in result.message
    assert bench.read(random) == before


def test_check_keeps_the_difference_for_whoever_wants_to_see_it(bench: Workbench, scratch: Path) -> None:
    scratch.chmod(0o755)  # the hook runs as the user of the build
    (scratch / "says").mkdir()
    (scratch / "says").chmod(0o777)
    hook = scratch / "hook"
    hook.write_text(f'#!/bin/sh\necho "$@" > {scratch}/says/called\n')
    hook.chmod(0o755)
    random = bench.derive("random", "read id < /proc/sys/kernel/random/uuid; echo $id > $out")
    bench.build_one(random)
    result = bench.fail(random, BuildMode.CHECK, run_diff_hook="true", diff_hook=str(hook))
    assert bench.told.errors == []
    kept = result.message.rsplit("'", 2)[1]
    assert Path(kept).read_text() != bench.read(random)
    first, second, drv, _ = (scratch / "says" / "called").read_text().split()
    assert (first, second, drv) == (bench.shown(random), kept, bench.store.directory.print(random))


def test_what_is_kept_for_comparison_is_whole(bench: Workbench) -> None:
    """Large files, too, which go into the store by being moved there."""
    random = bench.derive("random", "/bin/busybox mkdir $out; /bin/busybox head -c 100000 /dev/urandom > $out/large")
    (result,) = bench.build(random)
    assert result.ok, result.message
    checked = bench.fail(random, BuildMode.CHECK, keep_failed="true")
    repeated = bench.fail(bench.derive("again", "/bin/busybox head -c 100000 /dev/urandom > $out"), repeat="1",
                          keep_failed="true")  # fmt: skip
    assert (Path(checked.message.rsplit("'", 2)[1]) / "large").stat().st_size == 100000
    assert Path(repeated.message.rsplit("'", 2)[1]).stat().st_size == 100000


def test_a_build_is_repeated_as_often_as_is_asked(bench: Workbench) -> None:
    steady = bench.derive("steady", "echo building; echo steady > $out")
    bench.build_one(steady, repeat="2")
    assert bench.told.lines == ["building"] * 3
    assert [text.rpartition("' ")[2] for text in bench.told.started] == [f"(round {n}/3)" for n in (1, 2, 3)]
    random = bench.derive("random", "read id < /proc/sys/kernel/random/uuid; echo $id > $out")
    result = bench.fail(random, repeat="1")
    assert result.exit_code == 1
    assert result.message.endswith("differs from previous round")
    assert not bench.store.is_valid(bench.out(random))
    kept = bench.fail(random, repeat="1", keep_failed="true").message.rsplit("'", 2)[1]
    assert Path(kept).is_file()
    assert bench.build(random, repeat="1", enforce_determinism="false")[0].ok
    assert bench.store.is_valid(bench.out(random))


def test_repair_builds_what_is_damaged(bench: Workbench) -> None:
    # Larger than what lives in the database, so that there is a file to damage.
    script = "mkdir $good; for i in 1 2 3; do printf '%100000d' $i > $good/$i; printf '%100000d' 1$i > $out; done"
    target = bench.derive("target", script.replace("mkdir", "/bin/busybox mkdir"), outputs=("out", "good"))
    (result,) = bench.build(target)
    assert result.ok, result.message
    bad = next(
        path
        for path in Path(bench.config.verglas_dir, "blobs").rglob("*")
        if path.is_file() and b"13" in path.read_bytes()
    )
    bad.chmod(0o644)
    bad.write_bytes(b"x" * 100000)
    (repaired,) = bench.build(target, mode=BuildMode.REPAIR)
    assert repaired.ok, repaired.message
    assert any(line.startswith("repairing outputs of") for line in bench.told.started)
    assert bench.read(target) == "13".rjust(100000)
    assert bench.build(target, mode=BuildMode.REPAIR)[0].status is BuildStatus.ALREADY_VALID


def test_what_a_derivation_demands_of_its_references_is_checked(bench: Workbench) -> None:
    dependency = bench.derive("dependency", "echo > $out")
    inputs = {dependency: ("out",)}
    path = bench.shown(dependency)
    bad = bench.derive("bad", f"echo {path} > $out", inputs=inputs, allowedReferences="")
    message = bench.fail(bad).message
    assert message.endswith(f"is not allowed to refer to the following paths:\n  {path}")
    assert bench.build(bench.derive("good", f"echo {path} > $out", inputs=inputs, allowedReferences=path))[0].ok
    assert not bench.build(bench.derive("bad2", f"echo {path} > $out", inputs=inputs, disallowedRequisites=path))[0].ok
    assert bench.build(bench.derive("self", "echo $out > $out", allowedReferences="out"))[0].ok
    nonsense = bench.derive("nonsense", "echo > $out", allowedReferences="nonesuch")
    assert "illegal reference specifier 'nonesuch'" in bench.fail(nonsense).message


def test_reference_graphs_are_written_for_the_builder(bench: Workbench) -> None:
    dependency = bench.derive("dependency", "echo $out > $out")
    path = bench.shown(dependency)
    target = bench.derive(
        "target",
        "while read line; do echo $line; done < graph > $out",
        inputs={dependency: ("out",)},
        exportReferencesGraph=f"graph {path}",
    )
    assert bench.build_one(target) == f"{path}\n\n1\n{path}\n"
    outsider = bench.derive("outsider", "echo > $out", exportReferencesGraph=f"graph {path}")
    assert "is not in the input closure of the derivation" in bench.fail(outsider).message


@pytest.mark.parametrize(
    ("settings", "text", "status"),
    [
        ({"max_silent_time": "1"}, "timed out after 1 seconds of silence", BuildStatus.TIMED_OUT),
        ({"timeout": "1"}, "timed out after 1 seconds", BuildStatus.TIMED_OUT),
        ({"max_build_log_size": "100"}, "killed after writing more than 100 bytes", BuildStatus.LOG_LIMIT_EXCEEDED),
    ],
)
def test_limits_end_a_build(bench: Workbench, settings: dict[str, str], text: str, status: BuildStatus) -> None:
    script = "echo begun; for i in 1 2 3 4 5 6 7 8 9; do echo more and more output; done; exec /bin/busybox sleep 600"
    result = bench.fail(bench.derive("slow", script), **settings)
    assert text in result.message
    assert result.status is status
    assert result.exit_code == (101 if status is BuildStatus.TIMED_OUT else 1)


def test_a_builder_that_closes_its_output_is_ended(bench: Workbench) -> None:
    result = bench.fail(bench.derive("mute", "exec > /dev/null 2>&1; exec /bin/busybox sleep 600"))
    assert "failed due to signal 9 (Killed)" in result.message


def test_features_that_the_machine_lacks_are_named(bench: Workbench) -> None:
    target = bench.derive("target", "echo > $out", requiredSystemFeatures="antimatter")
    result = bench.fail(target)
    assert "with features {antimatter} is required to build" in result.message
    assert bench.build(target, system_features="antimatter")[0].ok


def test_the_sandbox_can_be_refused_only_where_that_is_allowed(bench: Workbench) -> None:
    target = bench.derive("target", "read name < /proc/1/comm; echo $name > $out", __noChroot="1")
    assert "'__noChroot' set, but that's not allowed" in bench.fail(target).message
    assert bench.build(target, sandbox="relaxed")[0].ok


def test_wanted_outputs_that_do_not_exist_are_named(bench: Workbench) -> None:
    target = bench.derive("target", "echo > $out")
    with pytest.raises(Exception, match="does not have wanted outputs 'nonesuch'"):
        bench.build(DerivedPath(target, ("nonesuch",)))


def test_hooks_run_around_a_build(bench: Workbench, scratch: Path) -> None:
    before, after, shared = scratch / "before", scratch / "after", scratch / "shared"
    shared.write_text("from the host")
    before.write_text(f"#!/bin/sh\necho extra-sandbox-paths\necho /shared={shared}\n")
    after.write_text(f"#!/bin/sh\necho $DRV_PATH $OUT_PATHS > {scratch}/after-says; echo said\n")
    for hook in (before, after):
        hook.chmod(0o755)
    target = bench.derive("target", "read line < /shared; echo $line > $out")
    text = bench.build_one(target, pre_build_hook=str(before), post_build_hook=str(after))
    assert text == "from the host\n"
    assert (scratch / "after-says").read_text().split() == [bench.store.directory.print(target), bench.shown(target)]
    assert "said" in bench.told.lines
