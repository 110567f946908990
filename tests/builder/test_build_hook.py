"""Build hooks, as shell scripts can be: one process for many questions, and builds that it carries out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.build_log import find_build_log, read_build_log
from storefs.api import BuildStatus

if TYPE_CHECKING:
    from tests.builder.workbench import Workbench

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent


@pytest.fixture
def hook(scratch: Path) -> Path:
    """A hook that accepts derivations called `far...`, postpones none, and declines the rest; counts its starts."""
    script = scratch / "hook"
    script.write_text(
        f"""#!/bin/sh
        echo started "$@" >> {scratch}/starts
        while read willing system drv features; do
            echo "$willing $system $features" >> {scratch}/questions
            case $drv in
            *-far*)
                echo "a message of the hook" >&2
                echo "# accept" >&2
                read inputs
                read outputs
                echo "$inputs" > {scratch}/inputs
                echo "a line of the builder" >&4
                case $drv in *-bad.drv) exit 100;; *-odd.drv) exit 3;; *-slow.drv) sleep 4715;; esac
                # Built in another store, whose outputs are imported: what a hook for another machine does.
                export NIX_STATE_DIR={scratch}/other
                {BIN}/nix-store --import < {scratch}/closure > /dev/null
                {BIN}/nix-store --realise $drv > /dev/null 2>&1 || exit 100
                {BIN}/nix-store --export $outputs > {scratch}/made
                export NIX_STATE_DIR={scratch}/state
                {BIN}/nix-store --import < {scratch}/made > /dev/null
                exit 0;;
            *) echo "# decline" >&2;;
            esac
        done
        """
    )
    script.chmod(0o755)
    return script


def starts(scratch: Path) -> list[str]:
    return (scratch / "starts").read_text().splitlines()


def test_what_it_declines_is_built_here_and_one_process_answers(bench: Workbench, hook: Path, scratch: Path) -> None:
    targets = [bench.derive(f"near{number}", "echo > $out") for number in range(5)]
    results = bench.build(*targets, build_hook=str(hook))
    assert all(result.ok for result in results)
    assert starts(scratch) == ["started x86_64-linux 0 0"]
    # As with Nix, one that finds no free slot here is asked about again, when there is one.
    assert len((scratch / "questions").read_text().splitlines()) >= 5


def test_how_often_it_is_asked_grows_with_the_number_of_builds(bench: Workbench, hook: Path, scratch: Path) -> None:
    """Not with its square: each ready build once for each that ends."""
    targets = [bench.derive(f"near{number}", "echo > $out") for number in range(40)]
    results = bench.build(*targets, build_hook=str(hook), max_jobs="1")
    assert all(result.ok for result in results)
    assert len((scratch / "questions").read_text().splitlines()) <= 3 * len(targets)


def test_sandboxed_builds_and_those_of_the_hook_do_not_mix(bench: Workbench, hook: Path, scratch: Path) -> None:
    """Row N11: fifty builds that a hook makes, between fifty here; each knows whether it has a sandbox."""
    count = 50
    near = [bench.derive(f"near{number}", f"echo near{number} > $out") for number in range(count)]
    far = [bench.derive(f"far{number}", f"echo far{number} > $out") for number in range(count)]
    script = f"""#!/bin/sh
    while read willing system drv features; do
        case $drv in *-far*) ;; *) echo "# decline" >&2; continue;; esac
        echo "# accept" >&2
        read inputs
        read outputs
        exec {sys.executable} {scratch}/register.py $outputs
    done
    """
    hook.write_text(script)
    # What a hook for another machine ends with: the output arrives from elsewhere, and nothing is taken from a sandbox.
    (scratch / "register.py").write_text(
        """
import sys
from storefs.config import load_config
from storefs.formats.path_info import PathInfo
from storefs.stores.local import LocalStore
store = LocalStore(load_config())
path = store.directory.parse(sys.argv[1])
with store.intake() as intake:
    tree = intake.add_bytes(path.name.encode() + b"\\n", executable=False)
    intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size, set()))])
store.close()
"""
    )
    results = bench.build(*near, *far, build_hook=str(hook), sandbox="true", max_jobs="4")
    assert [result.message for result in results] == [""] * 2 * count
    for kind, targets in (("near", near), ("far", far)):
        assert [bench.read(target) for target in targets] == [f"{kind}{number}\n" for number in range(count)]


def test_what_it_accepts_it_builds(bench: Workbench, hook: Path, scratch: Path) -> None:
    near = bench.derive("near", "echo near > $out")
    far = bench.derive("far", f"/bin/busybox cat {bench.shown(near)} > $out", inputs={near: ("out",)})
    bench.build(near)
    from storefs.stores.closure import closure
    from storefs.stores.transfer import export_paths

    paths = closure(bench.store, [far]) | {bench.out(near)}
    (scratch / "closure").write_bytes(b"".join(export_paths(bench.store, paths)))
    bench.other_states.append(f"{scratch}/other")
    (result,) = bench.build(far, build_hook=str(hook), timeout="9", require_sigs="false")
    assert result.ok, result.message
    assert bench.read(far) == "near\n"
    assert (scratch / "inputs").read_text().split() == [bench.shown(near)]
    assert starts(scratch) == ["started x86_64-linux 0 9"]
    log = find_build_log(bench.config, far)
    assert log is not None
    # Row H7: the hook's own messages are not the builder's.
    assert b"".join(read_build_log(log)) == b"a line of the builder\n"


@pytest.mark.parametrize(("name", "code", "text"), [("bad", 100, "failed"), ("odd", 1, "exit code 3")])
def test_its_exit_status_says_whose_fault_it_is(bench: Workbench, hook: Path, name: str, code: int, text: str) -> None:
    result = bench.fail(bench.derive(f"far-{name}", "echo > $out"), build_hook=str(hook))
    assert result.exit_code == code
    assert text in result.message


def test_a_hook_that_dies_is_named_and_done_without(bench: Workbench, scratch: Path) -> None:
    dead = scratch / "dead"
    dead.write_text("#!/bin/sh\nexit 1\n")
    dead.chmod(0o755)
    (result,) = bench.build(bench.derive("near", "echo > $out"), build_hook=str(dead))
    assert result.status is BuildStatus.BUILT
    assert bench.told.errors == [f"build hook '{dead}' died unexpectedly"]


def test_nonsense_is_no_answer(bench: Workbench, scratch: Path) -> None:
    odd = scratch / "odd"
    odd.write_text("#!/bin/sh\nread line; echo '# perhaps' >&2\n")
    odd.chmod(0o755)
    with pytest.raises(Exception, match="bad hook reply 'perhaps'"):
        bench.build(bench.derive("near", "echo > $out"), build_hook=str(odd))
