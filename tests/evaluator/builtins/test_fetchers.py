"""Fetching from this machine: archives, files and git repositories, compared with real Nix where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    dates = {"GIT_AUTHOR_DATE": "2020-01-02T03:04:05Z", "GIT_COMMITTER_DATE": "2020-01-02T03:04:05Z"}
    environ = {**os.environ, **dates, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def sources(scratch: Path) -> Path:
    tree = scratch / "src"
    (tree / "folder").mkdir(parents=True)
    (tree / "folder/file").write_text("content\n")
    (tree / "program").write_text("#!/bin/sh\n")
    (tree / "program").chmod(0o755)
    (tree / "link").symlink_to("folder/file")
    with tarfile.open(scratch / "t.tar.gz", "w:gz") as archive:
        archive.add(tree, "src-1.0")
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "first")
    git(tree, "tag", "v1")
    (tree / "folder/file").write_text("changed\n")
    git(tree, "commit", "-q", "-a", "-m", "second")
    return scratch


def expressions(sources: Path) -> dict[str, str]:
    first = git(sources / "src", "rev-parse", "v1")
    url = f"file://{sources}"
    return {
        "tarball": f'fetchTarball "{url}/t.tar.gz"',
        "named": f'fetchTarball {{ url = "{url}/t.tar.gz"; name = "named"; }}',
        "file": f'builtins.fetchurl "{url}/t.tar.gz"',
        "tree": f"fetchGit {sources}/src",
        "branch": f'fetchGit {{ url = "{url}/src"; ref = "main"; }}',
        "commit": f'fetchGit {{ url = {sources}/src; rev = "{first}"; name = "first"; }}',
    }


def evaluate(run: Runner, expression: str, **options: int | None) -> object:
    words = ("--eval", "--strict", "--json", "--read-write-mode", "-E", expression)
    return json.loads(run("nix-instantiate", *words, **options).stdout or "null")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.oracle
def test_results_are_those_of_real_nix(run: Runner, real_nix: RealNix, sources: Path) -> None:
    for name, expression in expressions(sources).items():
        words = ("--eval", "--strict", "--json", "--read-write-mode", "-E", expression)
        assert evaluate(run, expression) == json.loads(real_nix.run("nix-instantiate", *words)), name


@pytest.mark.slow
def test_a_changed_working_tree_is_taken_as_it_is(run: Runner, sources: Path, expects_warnings: object) -> None:
    (sources / "src/folder/file").write_text("dirty\n")
    (sources / "src/untracked").write_text("x")
    tree = f"fetchGit {sources}/src"
    looks = '[ (builtins.readFile (t + "/folder/file")) (builtins.pathExists (t + "/untracked")) t.rev ]'
    read = f"let t = {tree}; in {looks}"
    assert evaluate(run, read) == ["dirty\n", False, "0" * 40]
    words = ("--eval", "-E", f"({tree}).rev", "--option", "allow-dirty", "false")
    assert "is dirty" in run("nix-instantiate", *words, status=1).stderr


@pytest.mark.slow
def test_wrong_hashes_are_an_error_of_their_own(run: Runner, sources: Path) -> None:
    wrong = "0" * 52
    expression = f'fetchTarball {{ url = "file://{sources}/t.tar.gz"; sha256 = "{wrong}"; }}'
    error = run("nix-instantiate", "--eval", "-E", expression, status=102).stderr
    assert "hash mismatch in file downloaded from" in error
    assert "specified: sha256-AAAAAAAA" in error


@pytest.mark.slow
def test_pinned_archives_are_not_fetched_again(run: Runner, sources: Path) -> None:
    path = evaluate(run, f'fetchTarball "file://{sources}/t.tar.gz"')
    digest = run("nix-store", "-q", "--hash", str(path)).stdout.strip().partition(":")[2]
    (sources / "t.tar.gz").unlink()
    again = f'fetchTarball {{ url = "file://{sources}/t.tar.gz"; sha256 = "{digest}"; }}'
    assert evaluate(run, again) == path
    assert evaluate(run, f"{again} + builtins.toString builtins.langVersion") == f"{path}6"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ('fetchTarball { url = "file:///x"; sum = ""; }', "unsupported argument 'sum' to 'fetchTarball'"),
        ("builtins.fetchurl { }", "'url' argument required"),
        ('builtins.fetchurl "file:///nowhere/x"', "unable to download 'file:///nowhere/x'"),
        ('builtins.fetchurl "gopher://x/y"', "scheme 'gopher' is not supported"),
        ('fetchGit { url = "/nowhere"; }', "'/nowhere' does not exist"),
        ('fetchGit { url = "/"; rev = "abc"; }', "is not a git revision"),
        ('fetchTree { type = "cvs"; }', "input type 'cvs' is not supported"),
        ("fetchMercurial /x", "'fetchMercurial' is not supported"),
    ],
)
def test_errors_say_what_is_wrong(run: Runner, expression: str, message: str) -> None:
    assert message in run("nix-instantiate", "--eval", "--strict", "-E", expression, status=1).stderr
