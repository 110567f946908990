"""Every command loads, helps, and starts without what it does not need."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from evaluator.core.sha256 import sha256
from storefs.cli import load_verb, run_command, verb_names
from storefs.help import help_text
from storefs.options import Command
from tests.architecture.sources import ROOT
from tests.daemon_process import DaemonProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner

# What a command that asks the store one question must not wait for: together 250 ms.
HEAVY = {
    "argparse",
    "asyncio",
    "contextlib",
    "dataclasses",
    "enum",
    "hashlib",
    "httpx",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "pyfuse3",
    "re",
    "rich",
    "ruamel",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "trio",
    "typing",
}
# Small ones that only failures, or few questions, are about: a tenth of a millisecond each.
SMALL = {"binascii", "bisect", "errno", "fcntl", "itertools", "pwd", "struct"}


def test_every_command_loads_and_describes_itself() -> None:
    assert verb_names()
    for name in verb_names():
        command, run = load_verb(name)
        assert isinstance(command, Command), name
        assert callable(run), name
        assert command.summary[:1].isupper(), name
        assert not command.summary.endswith("."), name
        spellings = [spelling for option in command.options for spelling in option.spellings]
        assert len(spellings) == len(set(spellings)), f"{name}: an option is described twice"
        assert help_text(command).startswith(f"Usage: {command.name} "), name


def test_every_command_is_found_by_the_name_it_gives_itself() -> None:
    for name in verb_names():
        spoken = load_verb(name)[0].name.removeprefix("verglas ")
        assert spoken.replace(" ", "_").replace("-", "_") == name


def test_every_installed_command_exists(run: Runner) -> None:
    launchers = (ROOT / "setup.py").read_text().partition("COMMANDS = (")[2].partition(")")[0]
    for program in launchers.replace('"', "").replace(",", "").split():
        assert "2.8.0" in run(program, "--version").stdout, program


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    known = next(name for name in verb_names() if "_" not in name)
    assert run_command(["verglas", known + "x"], {}) == 1
    assert f"did you mean '{known}'" in capsys.readouterr().err


def _modules_of(environ: dict[str, str], *arguments: str, folder: Path | None = None) -> set[str]:
    """Return the modules that a run of our entry point imports, in a process of its own that stands in `folder`."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from storefs.cli import run_command
status = run_command(sys.argv[1:])
sys.stdout.flush()
print(status, *sys.modules, file=sys.stderr)
"""
    words = [sys.executable, "-I", "-c", code, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environ, cwd=folder)
    status, *modules = done.stderr.splitlines()[-1].split()
    assert status == "0", done.stderr
    return set(modules)


def test_the_entry_point_starts_light(environ: dict[str, str]) -> None:
    assert HEAVY & _modules_of(environ, "nix-store", "--version") == set()


def test_a_question_to_the_store_starts_light(environ: dict[str, str], run: Runner) -> None:
    path = run("nix-store", "--add", __file__).stdout.strip()
    for question in ("--hash", "--references", "--requisites"):
        assert (HEAVY | SMALL) & _modules_of(environ, "nix-store", "-q", question, path) == set(), question


def test_a_quick_check_of_the_store_starts_light(environ: dict[str, str], run: Runner) -> None:
    run("nix-store", "--add", __file__)
    heavy = HEAVY | SMALL | {"blake3", "storefs.formats.nar", "storefs.stores.closure", "storefs.stores.nar_store"}
    assert heavy & _modules_of(environ, "verglas", "verify", "--quick") == set()


@pytest.mark.root
@pytest.mark.fuse
@pytest.mark.slow
def test_a_question_to_a_daemon_loads_no_store_of_our_own(environ: dict[str, str]) -> None:
    with DaemonProcess(environ) as daemon:
        path = daemon.client("nix-store", "--add", str(ROOT / "LICENSE")).stdout.strip()
        heavy = HEAVY | {"lmdb", "storefs.stores.local", "storefs.castore.blobs"}
        assert heavy & _modules_of(daemon.env, "nix-store", "-q", "--hash", path) == set()


@pytest.mark.root
@pytest.mark.fuse
@pytest.mark.slow
def test_so_is_a_build_that_a_daemon_does(environ: dict[str, str]) -> None:
    expression = """derivation {
        name = "x"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo > $out" ];
    }"""
    with DaemonProcess(environ, "sandbox = false\n") as daemon:
        loaded = _modules_of(daemon.env, "nix-build", "--no-out-link", "-E", expression)
        heavy = (HEAVY - {"contextlib", "socket"}) | {"json", "lmdb", "shutil", "storefs.stores.local"}
        assert heavy & loaded == set()


def test_realising_what_is_there_starts_light(environ: dict[str, str], run: Runner) -> None:
    path = run("nix-store", "--add", __file__).stdout.strip()
    heavy = HEAVY | {"collections", "functools", "types"}
    assert heavy & _modules_of(environ, "nix-store", "--realise", path) == set()


def test_a_question_about_a_profile_starts_light(environ: dict[str, str], run: Runner, scratch: Path) -> None:
    profile = f"{scratch}/profile"
    run("nix-env", "-p", profile, "-i", run("nix-store", "--add", __file__).stdout.strip())
    heavy = HEAVY | {"collections", "contextlib", "functools", "importlib", "types", "evaluator.errors", "blake3"}
    assert (heavy | SMALL) & _modules_of(environ, "nix-env", "-p", profile, "-q") == set()
    assert heavy & _modules_of(environ, "nix-env", "-p", profile, "--list-generations") == set()


def test_realising_a_derivation_that_is_built_loads_nothing_that_writes(
    environ: dict[str, str], run: Runner, scratch: Path
) -> None:
    (scratch / "made").write_text("made")
    run("nix-store", "--add-fixed", "sha256", f"{scratch}/made")
    sha256 = run("nix-hash", "--flat", "--type", "sha256", f"{scratch}/made").stdout.strip()
    expression = f"""derivation {{
        name = "made"; system = "x"; builder = "x";
        outputHashAlgo = "sha256"; outputHashMode = "flat"; outputHash = "{sha256}";
    }}"""
    drv = run("nix-instantiate", "-E", expression).stdout.strip()
    heavy = HEAVY | {"blake3", "storefs.castore.blobs", "storefs.durable", "builder.open"}
    assert heavy & _modules_of(environ, "nix-store", "--realise", drv) == set()


def test_an_evaluation_starts_light(environ: dict[str, str], scratch: Path) -> None:
    (scratch / "default.nix").write_text('{ home = builtins.getEnv "HOME"; }')
    expression = '{ x = map (n: n * 2) [ 1 2 ]; y = "a" + "b"; z = builtins.match "(a+|b)*" "aab"; i = import ./.; }'
    heavy = HEAVY | SMALL | {"collections", "collections.abc", "evaluator.print_value", "storefs.formats.derivation"}
    heavy |= {"storefs.stores.open", "storefs.stores.showing"}
    loaded = _modules_of(environ, "nix-instantiate", "--eval", "--strict", "--json", "-E", expression, folder=scratch)
    assert heavy & loaded == set()


def test_an_evaluation_without_the_result_cache_does_not_load_it(environ: dict[str, str]) -> None:
    loaded = _modules_of(environ, "nix-instantiate", "--eval", "-E", "1", "--no-eval-cache")
    assert {"evaluator.result_cache", "evaluator.recording_io"} & loaded == set()


def test_a_derivation_is_hashed_without_loading_openssl(environ: dict[str, str]) -> None:
    attributes = f'name = "x"; system = "x"; builder = builtins.toFile "b" "text"; source = {ROOT / "LICENSE"};'
    heavy = HEAVY | ({"_hashlib"} if sha256.__module__ == "evaluator.core.sha256" else set())
    assert (
        heavy & _modules_of(environ, "nix-instantiate", "--readonly-mode", "-E", f"derivation {{ {attributes} }}")
        == set()
    )
