"""Verbs with one question each: hashes in other spellings, keys, settings, the store itself, why a path is needed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.settings import DEFAULTS
from tests.conftest import BIN

if TYPE_CHECKING:
    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix

SRI = "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
BASE32 = "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s"


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("base", ["base16", "base32", "base64", "sri"])
def test_hashes_are_spelled_as_real_nix_spells_them(run: Runner, real_nix: RealNix, base: str) -> None:
    for words in ([SRI], ["--type", "sha256", BASE32], [f"sha256:{BASE32}"]):
        ours = run("nix", "hash", f"to-{base}", *words).stdout
        assert ours == real_nix.run("nix", "hash", f"to-{base}", *words).decode()


def test_hash_that_does_not_say_its_algorithm_is_refused(run: Runner) -> None:
    failed = run("verglas", "hash", "to-sri", BASE32, status=1)
    assert failed.stderr.startswith("error: ")


@pytest.mark.slow
def test_keys_fit_together_and_to_real_nix(run: Runner, real_nix: RealNix) -> None:
    secret = run("nix", "key", "generate-secret", "--key-name", "test-1").stdout
    assert secret.startswith("test-1:")
    assert "\n" not in secret
    public = run("nix", "key", "convert-secret-to-public", stdin=secret).stdout
    assert public == real_nix.run("nix", "key", "convert-secret-to-public", stdin=secret.encode()).decode()
    assert "'--key-name' is missing" in run("nix", "key", "generate-secret", status=1).stderr


def test_every_setting_is_shown(run: Runner) -> None:
    lines = run("nix", "show-config", "--option", "max-jobs", "7").stdout.splitlines()
    assert [line.partition(" =")[0] for line in lines] == sorted(DEFAULTS)
    assert "max-jobs = 7" in lines
    assert "substituters = " in lines
    assert json.loads(run("nix", "show-config", "--json").stdout)["fallback"] == {"value": False}


@pytest.mark.oracle
def test_settings_that_are_sets_are_shown_as_real_nix_shows_them(run: Runner, real_nix: RealNix) -> None:
    names = ("extra-platforms", "ignored-acls", "system-features", "trusted-substituters", "trusted-public-keys")
    given = [word for name in names for word in ("--option", name, "z a z")]
    words = ("nix", "--extra-experimental-features", "nix-command flakes ca-derivations", "show-config", *given)
    wanted = (*names, "experimental-features")

    def chosen(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith(wanted)]

    assert chosen(run(*words).stdout) == chosen(real_nix.run(*words).decode())


def test_ping_opens_the_store(run: Runner, scratch: Path) -> None:
    said = "Store URL: local\nVersion: 2.8.0\n"
    assert run("verglas", "ping").stdout == said
    assert run("nix", "store", "ping").stderr == said
    failed = run("verglas", "ping", "--store", f"unix://{scratch}/nobody", status=1)
    assert "nobody" in failed.stderr


@pytest.fixture
def chain(run: Runner, scratch: Path) -> list[str]:
    """Four paths: a needs b and c, both need d."""
    source = """
        let text = name: content: builtins.toFile name content; d = text "d" "d"; b = text "b" "${d}";
            c = text "c" "${d}"; a = text "a" "${b} ${c}";
        in [ a b c d ]
    """
    (scratch / "chain.nix").write_text(source)
    words = ["--eval", "--strict", "--json", "--read-write-mode", scratch / "chain.nix"]
    paths: list[str] = json.loads(run("nix-instantiate", *words).stdout)
    return paths


def test_why_depends_draws_a_shortest_way_or_all(run: Runner, chain: list[str]) -> None:
    a, b, c, d = chain
    first, second = sorted((b, c))
    assert run("nix", "why-depends", a, d).stdout == f"{a}\n└───{first}\n    └───{d}\n"
    assert run("nix", "why-depends", "--all", a, d).stdout == (
        f"{a}\n├───{first}\n│   └───{d}\n└───{second}\n    └───{d}\n"
    )
    precise = run("nix", "why-depends", "--precise", a, d).stdout.splitlines()
    assert precise[0] == a
    assert precise[1].startswith("└───/: …")
    assert precise[2] == f"    → {first}"
    assert d in precise[3]
    assert precise[4] == f"        → {d}"
    nothing = run("nix", "why-depends", d, a)
    assert nothing.stdout == ""
    assert nothing.stderr == f"'{d}' does not depend on '{a}'\n"


def add(run: Runner, folder: Path, name: str, content: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    return run("nix-store", "--add", folder / name).stdout.strip()


@pytest.mark.oracle
@pytest.mark.slow
def test_closures_differ_as_real_nix_says(run: Runner, real_nix: RealNix, scratch: Path) -> None:
    names = {"a-1.0": "x", "a-2.0-man": "y" * 20000, "noversion": "z", "b-1-lib": "l" * 9000}
    paths = {name: add(run, scratch / "files", name, content) for name, content in names.items()}
    for name in names:
        real_nix.run("nix-store", "--add", str(scratch / "files" / name))
    for one in paths.values():
        for other in paths.values():
            ours = run("nix", "store", "diff-closures", one, other).stdout
            theirs = real_nix.run("nix", "store", "diff-closures", one, other).decode()
            for code in ("\x1b[31;1m", "\x1b[32;1m", "\x1b[0m"):
                theirs = theirs.replace(code, "")
            assert ours == theirs


@pytest.mark.slow
def test_signing_is_counted_and_kept(run: Runner, scratch: Path) -> None:
    path = add(run, scratch / "files", "a-1.0", "x")
    (scratch / "key").write_text(run("nix", "key", "generate-secret", "--key-name", "test-1").stdout)
    assert "added 1 signatures" in run("nix", "store", "sign", "-k", scratch / "key", path).stderr
    assert "added 0 signatures" in run("nix", "store", "sign", "-k", scratch / "key", "--all").stderr
    assert "test-1:" in run("nix", "path-info", "--sigs", path).stdout
    assert "key file" in run("nix", "store", "sign", path, status=1).stderr


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["ls", "-R", "-d", "N", ""],
        ["ls", "-lR", "N", "/"],
        ["ls", "N", "/dir"],
        ["ls", "-l", "N", "/dir/file"],
        ["ls", "--json", "N", "/"],
        ["ls", "--json", "-R", "N", "/"],
        ["ls", "--json", "N", "/dir/file"],
        ["cat", "N", "/dir/file"],
        ["cat", "N", "/empty"],
    ],
    ids=" ".join,
)
def test_nar_files_are_read_as_real_nix_reads_them(
    run: Runner, real_nix: RealNix, scratch: Path, words: list[str]
) -> None:
    tree = scratch / "tree"
    (tree / "dir" / "inner").mkdir(parents=True)
    (tree / "dir" / "file").write_text("some text\n" * 3)
    (tree / "dir" / "inner" / "run").write_text("x")
    (tree / "dir" / "inner" / "run").chmod(0o755)
    (tree / "empty").touch()
    (tree / "link").symlink_to("dir/file")
    nar = scratch / "tree.nar"
    nar.write_bytes(real_nix.run("nix-store", "--dump", str(tree)))
    given = [str(nar) if word == "N" else word for word in words]
    ours, theirs = run("nix", "nar", *given).stdout, real_nix.run("nix", "nar", *given).decode()
    if "--json" in words:
        assert json.loads(ours) == json.loads(theirs)
    else:
        assert ours == theirs


def test_nar_that_lacks_the_file_is_said(run: Runner, scratch: Path) -> None:
    (scratch / "no.nar").write_text("nothing")
    assert "'no.nar' can't be read as an archive: " in run("nix", "nar", "ls", "no.nar", status=1).stderr
    assert "none.nar" in run("nix", "nar", "ls", "none.nar", status=1).stderr


def test_case_hack_goes_there_and_back(run: Runner, scratch: Path) -> None:
    tree = scratch / "tree"
    (tree / "dir").mkdir(parents=True)
    for name in ("A", "a", "a.b"):
        (tree / "dir" / name).write_text(name)
    plain = subprocess.run([BIN / "nix-store", "--dump", tree], check=True, stdout=subprocess.PIPE).stdout
    option = ("--option", "use-case-hack", "true")
    subprocess.run([BIN / "nix-store", *option, "--restore", scratch / "out"], check=True, input=plain)
    assert sorted(os.listdir(scratch / "out" / "dir")) == ["A", "a.b", "a~nix~case~hack~1"]
    dumped = subprocess.run(
        [BIN / "nix-store", *option, "--dump", scratch / "out"], check=True, stdout=subprocess.PIPE
    ).stdout
    assert dumped == plain
    hashes = [run("nix-hash", *words, "--type", "sha256").stdout for words in ((*option, "out"), ("tree",))]
    assert hashes[0] == hashes[1]
    (scratch / "out" / "dir" / "a~nix~case~hack~7").touch()
    assert "file name collision in between" in run("nix-hash", *option, "out", status=1).stderr
