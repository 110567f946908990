"""Builds on other machines, over the real protocols: real Nix and our own programs on the other side."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.build_log import find_build_log, read_build_log
from storefs.api import BuildStatus
from storefs.config import load_config
from storefs.stores.local import LocalStore
from tests.daemon_process import DaemonProcess
from tests.oracle.real_nix import why_no_real_nix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.builder.workbench import Workbench

pytestmark = pytest.mark.slow

OURS = Path(shutil.which("nix-store", path=f"{Path(os.sys.executable).parent}") or "").parent  # type: ignore[attr-defined]


@pytest.fixture(params=["chroot", "ssh real Nix", "ssh-ng real Nix", "ssh ours", "ssh-ng ours", "ssh our daemon"])
def builders(request: pytest.FixtureRequest, bench: Workbench, scratch: Path) -> Iterator[str]:
    """A value of `builders` with one machine, whose store is a directory of its own."""
    root = scratch / "machine"
    bench.other_stores.append(f"{root}?store={bench.config.store_dir}")
    kind, _, whose = str(request.param).partition(" ")
    if kind == "chroot":
        yield f"{root} x86_64-linux - 1 1 far"
        return
    if whose == "our daemon":
        environ = {**bench.config.environment(), "NIX_STATE_DIR": f"{scratch}/machine-state"}
        program = scratch / "far"
        program.write_text(
            f"#!/bin/sh\nNIX_REMOTE=daemon NIX_STATE_DIR={scratch}/machine-state exec {OURS}/nix-store $@\n"
        )
        program.chmod(0o755)
        # Who is not trusted may not give a derivation to build.
        user = pwd.getpwuid(os.getuid()).pw_name
        with DaemonProcess(environ, f"system-features = far\ntrusted-users = {user}\n"):
            yield f"ssh://localhost?remote-program={program} x86_64-linux - 1 1 far"
        return
    if whose == "real Nix" and (reason := why_no_real_nix()):
        pytest.skip(reason)
    folder = "/usr/bin" if whose == "real Nix" else str(OURS)
    program = scratch / "far"
    program.write_text(
        f"""#!/bin/sh
        NIX_CONFIG="$NIX_CONFIG
        system-features = far"
        export NIX_CONFIG
        exec {folder}/{"nix-store" if kind == "ssh" else "nix-daemon"} "$@"
        """
    )
    program.chmod(0o755)
    # Both sides have the same logical store directory; what is physically there differs.
    store = f"{root}?store={bench.config.store_dir}"
    yield f"{kind}://localhost?remote-program={program}&remote-store={store} x86_64-linux - 1 1 far"


def test_a_build_goes_there_and_comes_back(bench: Workbench, builders: str) -> None:
    source = bench.store.add_text("source", b"from here\n")
    near = bench.derive("near", f"/bin/busybox cat {bench.store.directory.print(source)} > $out", sources=(source,))
    far = bench.derive(
        "far",
        f"echo building far away; /bin/busybox cat {bench.shown(near)} > $out; echo $out > $dev",
        outputs=("out", "dev"),
        inputs={near: ("out",)},
        requiredSystemFeatures="far",
    )
    (result,) = bench.build(far, builders=builders)
    assert result.ok, result.message
    assert bench.read(far) == "from here\n"
    assert bench.store.path_info(bench.out(far, "dev")).references == (bench.out(far),)
    started = next(text for text in bench.told.started if "far.drv" in text)
    assert " on '" in started
    log = find_build_log(bench.config, far)
    assert log is not None
    assert b"building far away\n" in b"".join(read_build_log(log))
    assert not bench.told.errors
    assert os.listdir(f"{bench.config.state_dir}/current-load") == []


def test_what_the_connection_says_is_no_error(bench: Workbench, scratch: Path) -> None:
    """ssh greets, warns of keys and shows banners on standard error."""
    program = scratch / "far"
    program.write_text(f'#!/bin/sh\necho welcome >&2\nexec {OURS}/nix-store "$@"\n')
    program.chmod(0o755)
    store = f"{scratch}/machine?store={bench.config.store_dir}"
    bench.other_stores.append(store)
    target = bench.derive("build", "echo > $out")
    builders = f"ssh://localhost?remote-program={program}&remote-store={store} x86_64-linux"
    (result,) = bench.build(target, builders=builders, max_jobs="0")
    assert result.ok, result.message
    assert bench.told.errors == []
    assert any("welcome" in text for text in bench.told.words + bench.told.lines)


def test_the_post_build_hook_runs_here_too(bench: Workbench, scratch: Path) -> None:
    hook = scratch / "hook"
    hook.write_text(f"#!/bin/sh\necho $OUT_PATHS >> {scratch}/called\n")
    hook.chmod(0o755)
    far = bench.derive("far", "echo > $out; echo > $dev", outputs=("out", "dev"), requiredSystemFeatures="far")
    builders = f"{scratch}/machine x86_64-linux - 1 1 far"
    (result,) = bench.build(far, builders=builders, post_build_hook=str(hook))
    assert result.ok, result.message
    lines = (scratch / "called").read_text().splitlines()
    assert [sorted(line.split()) for line in lines] == [sorted([bench.shown(far), bench.shown(far, "dev")])] * 2


def test_a_failure_there_is_a_failure_here(bench: Workbench, builders: str) -> None:
    far = bench.derive("far", "echo so far; exit 7", requiredSystemFeatures="far")
    result = bench.fail(far, builders=builders)
    assert result.exit_code == 100
    assert result.status is BuildStatus.PERMANENT_FAILURE
    assert "exit code 7" in result.message


def test_a_machine_that_is_not_there_is_left_out(bench: Workbench, scratch: Path) -> None:
    gone = "ssh://localhost?remote-program=/nonesuch x86_64-linux - 9 9 far"
    there = f"{scratch}/machine x86_64-linux - 1 1 far"
    far = bench.derive("far", "echo > $out", requiredSystemFeatures="far")
    (result,) = bench.build(far, builders=f"{gone} ; {there}")
    assert result.ok, result.message
    assert any("cannot build on 'ssh://localhost?remote-program=/nonesuch'" in error for error in bench.told.errors)


def test_more_builds_than_slots_take_turns(bench: Workbench, scratch: Path) -> None:
    """Row H3: with one slot and no local builds, one after the other."""
    builders = f"{scratch}/machine x86_64-linux - 1 1"
    targets = [bench.derive(f"turn{number}", "echo $name > $out") for number in range(3)]
    results = bench.build(*targets, builders=builders, max_jobs="0")
    assert [result.message for result in results] == ["", "", ""]
    with LocalStore(load_config(bench.config.environment(), store_uri=f"{scratch}/machine")) as remote:
        assert all(remote.is_valid(bench.out(target)) for target in targets)


def test_what_prefers_to_be_built_here_is(bench: Workbench, scratch: Path) -> None:
    target = bench.derive("near", "echo > $out", preferLocalBuild="1")
    bench.build_one(target, builders=f"{scratch}/machine")
    assert not (scratch / "machine").exists()
