"""What is said about options and verbs that are none, and options that stand before a verb."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.options import split_leading

if TYPE_CHECKING:
    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix


@pytest.mark.parametrize(
    ("leading", "rest"),
    [
        ([], ["build", "--store", "/x"]),
        (["--store", "/x"], ["build", "-f", "y"]),
        (["--option", "cores", "2", "-v"], ["eval"]),
        (["--extra-experimental-features", "nix-command flakes"], ["hash", "file", "x"]),
        (["--keep-build-log"], ["log", "x"]),
        (["--version"], []),
    ],
)
def test_common_options_and_settings_may_stand_before_a_verb(leading: list[str], rest: list[str]) -> None:
    assert split_leading([*leading, *rest]) == (leading, rest)


def test_they_count_as_if_they_stood_behind_it(run: Runner) -> None:
    assert run("nix", "--extra-experimental-features", "nix-command", "--version").stdout.startswith("nix (Nix)")
    assert "Usage: verglas path-info" in run("verglas", "--option", "cores", "2", "path-info", "--help").stdout
    assert "no command is named" in run("nix", "--quiet", status=1).stderr
    assert "nonesuch" in run("nix", "--nonesuch", "path-info", "x", status=1).stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        # What scripts look for: nix-env and nix-store of 2.8 say it so.
        (["nix-env", "--foo"], "no operation specified, and unknown flag '--foo'"),
        (["nix-env", "-q", "--descripton"], "unknown flag '--descripton'; did you mean '--description'?"),
        (["nix-build", "--no-outlink"], "unrecognised option '--no-outlink'; did you mean '--no-out-link'?"),
        (["nix-build", "--cores=2"], "'--cores=2' is not how options take arguments; write '--cores 2'"),
        (["verglas", "profil"], "'profil' is not a recognised command; did you mean 'profile'?"),
        (["verglas", "profile"], "'verglas profile' needs one more word: add, apply,"),
        (["verglas", "profile", "ini"], "'profile ini' is not a recognised command; did you mean 'profile init'?"),
        (["nix", "store", "verfy"], "'store verfy' is not a recognised command; did you mean 'store verify'?"),
        (["nix", "hash"], "'nix hash' needs one more word: file, path, to-base16,"),
        (["verglas", "xyzzy"], "'xyzzy' is not a recognised command; 'verglas --help' lists the commands"),
        (["verglas", "gc", "--max", "x"], "'--max-freed' has invalid value 'x'"),
        (["nix-collect-garbage", "--delete-older-than", "7"], "invalid number of days specifier '7'"),
        (["nix-env", "--set-flag", "priority", "x", "a"], "a priority is a whole number, not 'x'"),
    ],
)
def test_mistakes_are_named_with_what_was_meant(run: Runner, words: list[str], message: str) -> None:
    error = run(*words, status=1).stderr
    assert error.startswith("error: "), error
    assert message in error
    assert error.count("\n") == 1, error


def test_a_number_of_days_is_no_generation(run: Runner, scratch: Path) -> None:
    """`nix-collect-garbage --delete-older-than 1` took generation 1 away."""
    profiles = scratch / "state/profiles"
    profiles.mkdir(parents=True)
    for number in (1, 2):
        (profiles / f"p-{number}-link").symlink_to("/nowhere")
    (profiles / "p").symlink_to("p-2-link")
    run("nix-collect-garbage", "--delete-older-than", "1", status=1)
    assert (profiles / "p-1-link").is_symlink()


def test_the_version_says_more_to_who_asks_for_more(run: Runner, scratch: Path) -> None:
    files = f"{scratch}/one.conf:{scratch}/two.conf"
    said = run("nix-build", "--verbose", "--version", NIX_USER_CONF_FILES=files).stdout
    assert said.startswith("nix-build (Nix) 2.8.0\nSystem type: ")
    assert f"User configuration files: {files}\n" in said
    assert f"State directory: {scratch}/state\n" in said
    assert run("nix", "-vv", "--version").stdout.startswith("nix (Nix) 2.8.0\nSystem type: ")
    assert run("nix-build", "--version").stdout == "nix-build (Nix) 2.8.0\n"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("nix-build --log-format foo", "option 'log-format' has an invalid value 'foo'"),
        ("nix-build --cores 99999999999999999999", "setting 'cores' has invalid value '99999999999999999999'"),
        ("nix-build -j 4294967296", "setting 'max-jobs' has invalid value '4294967296'"),
        ("nix-build --max-free 16777216T", "setting 'max-free' has invalid value '16777216T'"),
        ("nix eval --expr 1 --json --raw", "'--raw' and '--json' are mutually exclusive"),
        ("verglas serve --listen 127.0.0.1:65536", "--listen takes HOST:PORT"),
        ("nix-prefetch-url http://[::1", "unable to download 'http://[::1': Invalid IPv6 URL"),
        ("nix-prefetch-url http://localhost:x/y", "unable to download 'http://localhost:x/y': "),
    ],
)
def test_values_that_are_none(run: Runner, line: str, text: str) -> None:
    said = run(*shlex.split(line), status=1).stderr
    assert said.startswith("error: ")
    assert text in said
    assert said.count("\n") == 1


def test_without_a_network(run: Runner) -> None:
    shown = run("nix", "show-config", "--offline").stdout.splitlines()
    assert "substitute = false" in shown
    assert "tarball-ttl = 4294967295" in shown
    assert "substitute = true" in run("nix", "show-config", "--offline", "--substitute").stdout.splitlines()


@pytest.mark.oracle
def test_the_levels_of_this_processor_are_those_of_nix(run: Runner, real_nix: RealNix) -> None:
    line = "Additional system types: "
    ours, theirs = (
        next(each for each in text.splitlines() if each.startswith(line))
        for text in (run("nix", "-v", "--version").stdout, real_nix.run("nix-build", "-v", "--version").decode())
    )
    if "GenuineIntel" not in Path("/proc/cpuinfo").read_text():
        # The libcpuid that Nix 2.8 asks does not see AVX-512 in processors of AMD that have it.
        ours = ours.removesuffix(", x86_64-v4-linux")
    assert ours == theirs
