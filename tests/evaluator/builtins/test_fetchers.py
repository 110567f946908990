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
@pytest.mark.root
def test_a_repository_of_somebody_else_is_no_dirty_one(run: Runner, sources: Path) -> None:
    """Git looks into none: it runs what their configuration names. Its whole answer is shown, with the way out."""
    for folder, _, _ in os.walk(sources / "src"):
        os.chown(folder, 54321, 54321)
    said = run("nix-instantiate", "--eval", "-E", f"fetchGit {sources}/src", status=1).stderr.splitlines()[0]
    assert said.startswith("error: program 'git' failed with exit code 128: fatal: detected dubious ownership")
    assert said.endswith(f"git config --global --add safe.directory {sources}/src")


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


# git-check-ref-format(1)
@pytest.mark.parametrize(
    "ref",
    [
        *("", "@", "/a", "a//b", "a/", ".a", "a/.b", "a.", "a..b", "a b", "a~b", "a^b", "a:b", "a?b", "a*", "a[b"),
        *("a\\\\b", "a.lock", "a.lock/b", "a@{b", "a\tb", "a\x7f"),
    ],
)
def test_names_that_no_branch_can_have_are_refused_before_git_sees_them(run: Runner, ref: str) -> None:
    expression = f'fetchGit {{ url = "/nowhere"; ref = "{ref}"; }}'
    assert "invalid Git branch/tag name" in run("nix-instantiate", "--eval", "-E", expression, status=1).stderr


@pytest.mark.slow
def test_of_a_mirror_only_the_branch_that_is_named_counts(run: Runner, sources: Path) -> None:
    """What other expressions made the mirror have must not decide whether this one works."""
    git(sources / "src", "checkout", "-q", "-b", "side")
    git(sources / "src", "commit", "-q", "--allow-empty", "-m", "third")
    rev = git(sources / "src", "rev-parse", "HEAD")
    git(sources / "src", "checkout", "-q", "main")
    source = f'url = "file://{sources}/src"; rev = "{rev}";'
    mirrored = {"_NIX_FORCE_HTTP": "1"}  # as if it were another machine's
    words = ("--eval", "--read-write-mode", "-E")
    run("nix-instantiate", *words, f"fetchGit {{ {source} allRefs = true; }}", **mirrored)
    refused = run("nix-instantiate", *words, f"(fetchGit {{ {source} }}).rev", status=1, **mirrored).stderr
    assert f"Cannot find Git revision '{rev}' in ref 'HEAD'" in refused
    assert evaluate_word(run, f'(fetchGit {{ {source} ref = "side"; }}).rev', **mirrored) == rev


def evaluate_word(run: Runner, expression: str, **variables: str) -> str:
    words = ("--eval", "--json", "--read-write-mode", "-E", expression)
    answer: str = json.loads(run("nix-instantiate", *words, **variables).stdout)
    return answer


@pytest.mark.slow
def test_a_shallow_repository_has_no_count(run: Runner, sources: Path) -> None:
    git(sources, "clone", "-q", "--depth", "1", f"file://{sources}/src", "shallow")
    tree = f'fetchGit {{ url = "{sources}/shallow"; ref = "main"; '
    refused = run("nix-instantiate", "--eval", "-E", f"({tree} }}).rev", status=1).stderr
    assert "is a shallow Git repository, but a non-shallow repository is needed" in refused
    assert evaluate_word(run, f"({tree} shallow = true; }}).rev") == git(sources / "src", "rev-parse", "main")


def test_a_commit_may_have_no_files(run: Runner, scratch: Path) -> None:
    (scratch / "empty").mkdir()
    git(scratch / "empty", "init", "-q")
    git(scratch / "empty", "commit", "-q", "--allow-empty", "-m", "nothing")
    assert evaluate(run, f"builtins.attrNames (builtins.readDir (fetchGit {scratch}/empty).outPath)") == []


def test_paths_with_dots_name_the_same_changed_tree(run: Runner, sources: Path, expects_warnings: object) -> None:
    (sources / "src/folder/file").write_text("dirty\n")
    plain, dotted = (f'(fetchGit "file://{sources}/{way}src").outPath' for way in ("", "./"))
    assert evaluate(run, plain) == evaluate(run, dotted)
    assert evaluate(run, f'builtins.readFile ({dotted} + "/folder/file")') == "dirty\n"


def test_a_tree_of_a_path_says_when_it_changed(run: Runner, sources: Path) -> None:
    for number, file in enumerate(sorted((sources / "src/folder").rglob("*"), reverse=True)):
        os.utime(file, (1_600_000_000 + number, 1_600_000_000 + number))
    os.utime(sources / "src/folder", (1_500_000_000, 1_500_000_000))
    tree = f'builtins.fetchTree "path:{sources}/src/folder"'
    assert evaluate(run, f"({tree}).lastModified") == 1_600_000_000
    assert evaluate(run, f"({tree}).lastModifiedDate") == "20200913122640"


def test_a_locked_tree_that_is_there_is_not_fetched_and_another_one_is_refused(run: Runner, sources: Path) -> None:
    tree = f'fetchTree {{ type = "tarball"; url = "file://{sources}/t.tar.gz"; '
    lock = evaluate(run, f"(builtins.{tree} }}).narHash")
    away = f'builtins.fetchTree {{ type = "tarball"; url = "file:///nowhere.tar"; narHash = "{lock}"; }}'
    assert evaluate(run, f"({away}).narHash") == lock
    wrong = f'builtins.{tree} narHash = "sha256-{"A" * 43}="; }}'
    assert (
        "NAR hash mismatch in input" in run("nix-instantiate", "--eval", "-E", f"({wrong}).narHash", status=102).stderr
    )


def test_pure_evaluation_reads_what_is_pinned(run: Runner, sources: Path) -> None:
    (sources / "x.nix").write_text("{ x = 123; }")
    digest = run("nix", "hash", "file", "--type", "sha256", sources / "x.nix").stdout.strip()
    pinned = f'(import (builtins.fetchurl {{ url = "file://{sources}/x.nix"; sha256 = "{digest}"; }})).x'
    for _ in range(2):  # the second time it is in the store already
        assert run("nix", "eval", "--expr", pinned).stdout == "123\n"


def hg(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["hg", "--config", "ui.username=n", *words],
        cwd=folder,
        env={**os.environ, "HGPLAIN": "", "HGRCPATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("hg") is None, reason="needs hg")
def test_mercurial(run: Runner, scratch: Path, expects_warnings: object) -> None:
    source = scratch / "hg"
    source.mkdir()
    hg(source, "init")
    (source / "file").write_text("one\n")
    hg(source, "commit", "-A", "-m", "first")
    first = hg(source, "log", "-r", "tip", "--template", "{node}")
    (source / "file").write_text("two\n")
    hg(source, "commit", "-m", "second")
    second = hg(source, "log", "-r", "tip", "--template", "{node}")
    tree = evaluate(run, f"fetchMercurial {source}")
    assert isinstance(tree, str)  # a set with outPath is shown as that
    facts = f"with fetchMercurial {source}; [ branch rev shortRev revCount ]"
    assert evaluate(run, facts) == ["default", second, second[:12], 1]
    read = f'builtins.readFile (fetchMercurial {{ url = {source}; rev = "{first}"; name = "n"; }} + "/file")'
    assert evaluate(run, read) == "one\n"
    (source / "file").write_text("changed\n")
    (source / "untracked").write_text("x")
    looks = f'let t = fetchMercurial {source}; in [ (builtins.readFile (t + "/file")) t.rev (builtins.pathExists'
    assert evaluate(run, f'{looks} (t + "/untracked")) ]') == ["changed\n", "0" * 40, False]
    pure = run("nix", "eval", "--expr", f"(fetchMercurial {source}).rev", status=1).stderr
    assert "in pure evaluation mode, 'fetchMercurial' requires a Mercurial revision" in pure


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
        (
            'fetchTree { type = "path"; path = "/"; name = "x"; }',
            "attribute 'name' isn't supported in call to 'fetchTree'",
        ),
        ('fetchMercurial { url = "/x"; ref = "y"; }', "unsupported argument 'ref' to 'fetchMercurial'"),
        ('fetchMercurial { url = "/x"; rev = "a b"; }', "invalid Mercurial branch/tag name 'a b'"),
    ],
)
def test_errors_say_what_is_wrong(run: Runner, expression: str, message: str) -> None:
    assert message in run("nix-instantiate", "--eval", "--strict", "-E", expression, status=1).stderr
