"""nix-env: what it prints and what it makes, equal to real Nix 2.8 command by command."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import BIN
from tests.profiles.both import EXPRESSIONS, OPTIONS

if TYPE_CHECKING:
    from tests.conftest import Runner
    from tests.profiles.both import Both

pytestmark = [pytest.mark.slow, pytest.mark.fuse]


@pytest.fixture(autouse=True)
def _unmount(environ: dict[str, str], scratch: Path):  # type: ignore[no-untyped-def]
    yield
    subprocess.run([BIN / "verglas", "umount"], env=environ, cwd=scratch, check=False, capture_output=True)


@pytest.mark.oracle
@pytest.mark.root
@pytest.mark.parametrize(
    "arguments",
    [
        ["-qa"],
        ["-qaP"],
        ["-qaP", "--description"],
        ["-qaP", "--system", "--no-name"],
        ["-qaP", "--drv-path"],
        ["-qaP", "--out-path"],
        ["-qas"],
        ["-qac"],
        ["-qa", "alpha"],
        ["-qa", "alpha-1.0", "be.*"],
        ["-qaA", "nested"],
        ["-qa", "--system-filter", "powerpc-linux"],
        ["-qab"],
        ["-qa", "--json"],
        ["-qa", "--json", "--out-path", "alpha"],
        ["-qa", "--json", "--meta"],
        ["-qa", "--xml"],
        ["-qa", "--xml", "--meta", "--description", "--drv-path", "--out-path", "-s", "-c"],
        ["-q"],
        ["-q", "--json"],
        ["-q", "--xml"],
    ],
    ids=" ".join,
)
def test_queries_of_an_empty_profile(both: Both, arguments: list[str]) -> None:
    both(*arguments)


@pytest.mark.oracle
@pytest.mark.root
def test_a_life(both: Both) -> None:
    both("-i", "alpha-1.0")
    both("-iA", "multi", "nested.deep")
    assert both("-q").split() == ["alpha-1.0", "deep-3", "multi-1"]
    both("-q", "--out-path", "--description", "--system", "-s")
    both("-qc")
    both("-qas")
    both("-qasc", "--out-path")
    both("-q", "--json", "--meta", "--out-path")
    both("-q", "--xml", "--meta", "--out-path", "--description", "-c")
    both("-i", "alpha-2.0", "--preserve-installed")
    both("-q")
    both("-e", "alpha-2.0")
    both("--set-flag", "priority", "5", "alpha")
    both("-i", "alpha-2.0", "-P", status=100)
    both("-u", "--always")
    both("-u")
    both("-iA", "clash", status=100)
    both("--set-flag", "active", "false", "alpha")
    both("-iA", "clash")
    both("-e", "multi", "clash")
    both("--set-flag", "keep", "true", "deep")
    both("-iE", "f: f.beta", "f: f.Beta")
    both("--rollback")
    both("--switch-generation", "2")
    both("-q")
    both("--delete-generations", "1", "3")
    both("-ir", "alpha")
    both("-q")
    both("--set", "-A", "beta")
    both("-q")
    both("--delete-generations", "+2")
    both("--delete-generations", "old")
    both("-e", ".*")
    targets = both.links()
    assert len(targets) > 1


@pytest.mark.oracle
@pytest.mark.root
@pytest.mark.parametrize(
    "arguments",
    [
        ["-i", "nothing"],
        ["-iA", "alpha"],
        ["-qa", "alph"],
        ["--rollback"],
        ["--switch-generation", "4"],
        ["--delete-generations", "x"],
        ["--set-flag", "keep", "true", "nothing"],
        ["--set", "alpha", "beta"],
        ["-q", "-P"],
        ["-i", "--leq"],
        ["-i", "-e"],
        [],
    ],
    ids=" ".join,
)
def test_failures(both: Both, arguments: list[str]) -> None:
    both(*arguments, status=1)


def test_list_generations_has_nixs_form(run: Runner, scratch: Path) -> None:
    (scratch / "x.nix").write_text(EXPRESSIONS)
    profile = scratch / "profile"
    run("nix-env", "-f", "x.nix", "-p", profile, "-iA", "beta", *OPTIONS)
    run("nix-env", "-f", "x.nix", "-p", profile, "-iA", "noversion", *OPTIONS)
    lines = run("nix-env", "-p", profile, "--list-generations").stdout.splitlines()
    form = r"   %d   \d{4}-\d\d-\d\d \d\d:\d\d:\d\d   %s"
    assert re.fullmatch(form % (1, ""), lines[0])
    assert re.fullmatch(form % (2, r"\(current\)"), lines[1])


def test_dry_run_changes_nothing(run: Runner, scratch: Path) -> None:
    (scratch / "x.nix").write_text(EXPRESSIONS)
    done = run("nix-env", "-f", "x.nix", "-p", scratch / "p", "-iA", "beta", "--dry-run")
    assert "(dry run; not doing anything)" in done.stderr
    assert "this derivation will be built:" in done.stderr
    assert not os.path.lexists(scratch / "p")


def test_manifest_written_by_hand_is_evaluated(run: Runner, scratch: Path) -> None:
    path = f"{scratch}/store/{'0' * 32}-x"
    profile = scratch / "profile"
    profile.mkdir()
    (profile / "manifest.nix").write_text(
        f'map (name: {{ type = "derivation"; inherit name; outPath = "{path}"; meta = {{ }}; }}) [ "x-1" "y-2" ]'
    )
    assert run("nix-env", "-p", profile, "-q").stdout == "x-1\ny-2\n"


def test_manifest_json_is_refused(run: Runner, scratch: Path) -> None:
    (scratch / "profile").mkdir()
    (scratch / "profile" / "manifest.json").write_text("{}")
    done = run("nix-env", "-p", scratch / "profile", "-q", status=1)
    assert "please use 'nix profile' instead" in done.stderr


def test_folder_of_expressions(run: Runner, environ: dict[str, str], scratch: Path) -> None:
    folder = Path(environ["HOME"]) / ".nix-defexpr"
    (folder / "more" / "channel").mkdir(parents=True)
    (folder / "one.nix").write_text(EXPRESSIONS)
    (folder / "more" / "channel" / "default.nix").write_text('{ z = derivation { name = "z-1"; system = "s"; }; }')
    (folder / "more" / "manifest.nix").write_text("throw 1")
    (folder / "gone").symlink_to("nowhere")
    (folder / "ignored.txt").write_text("throw 1")
    lines = run("nix-env", "-qaP", "z", "beta").stdout.splitlines()
    assert lines == ["one.beta   beta-0.9", "channel.z  z-1"]
    (folder / "more" / "one.nix").write_text("{ }")
    assert "name collision in input Nix expressions" in run("nix-env", "-qa", "z").stderr


def test_who_has_no_channel_is_told_how_to_get_one(run: Runner) -> None:
    failed = run("nix-env", "-i", "hello", status=1).stderr
    assert "selector 'hello' matches no derivations" in failed
    assert "'nix-channel --add URL'" in failed
    assert run("nix-env", "-qa", "hello", status=1).stderr.endswith("error: selector 'hello' matches no derivations\n")


def test_names_are_sorted_without_case(run: Runner, scratch: Path) -> None:
    (scratch / "x.nix").write_text(EXPRESSIONS)
    names = json.loads(run("nix-env", "-f", "x.nix", "-qa", "--json").stdout)
    assert list(names)[:4] == ["a1", "a2", "beta", "Beta"]


@pytest.mark.oracle
@pytest.mark.root
def test_prebuilt_only_takes_what_need_not_be_built(both: Both) -> None:
    both("-ib", "beta")
    assert both("-q") == ""
    both("-i", "alpha-1.0")
    both("-ub", "--always")
    assert both("-q") == "alpha-1.0\n"
    assert both("-qab") == "alpha-1.0\n"
    both("-ibA", "a1", "a2")
    both("-u")
    both("-ubA", "a1", "--always")
    both.links()


def test_parallel_installs_all_arrive(environ: dict[str, str], run: Runner, scratch: Path) -> None:
    (scratch / "x.nix").write_text(EXPRESSIONS)
    names = ["beta", "multi", "noversion", "nested.deep"]
    words = [str(BIN / "nix-env"), "-f", "x.nix", "-p", f"{scratch}/profile", *OPTIONS, "-iA"]
    started = [
        subprocess.Popen([*words, name], env=environ, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for name in names
    ]
    for process in started:
        said, _ = process.communicate()
        assert process.returncode == 0, said.decode()
    installed = run("nix-env", "-p", scratch / "profile", "-q").stdout.split()
    assert installed == ["beta-0.9", "deep-3", "multi-1", "noversion"]
