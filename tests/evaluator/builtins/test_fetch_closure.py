"""`nix store make-content-addressed` and `builtins.fetchClosure`: closures under names from their contents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix

PACKAGES = """
let make = name: script: attributes: derivation ({
  inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
} // attributes);
in rec {
  inner = make "inner" "echo $out is inner, $out > $out" { };
  plain = make "plain" "echo plain > $out" { };
  outer = make "outer" "echo $inner $plain $out > $out" { inherit inner plain; };
}
"""
FEATURES = {
    "NIX_CONFIG": "experimental-features = nix-command fetch-closure\nsubstituters =\nauto-mount = false\n",
    "_NIX_IN_TEST": "1",
}


class Fetching:
    """A cache with a closure, and empty stores to fetch it into."""

    def __init__(self, run: Runner, scratch: Path) -> None:
        (scratch / "default.nix").write_text(PACKAGES)
        self.run, self.scratch = run, scratch
        self.old = run("nix-build", "--no-out-link", "-A", "outer").stdout.strip()
        self.uri = f"file://{scratch}/cache"
        run("nix", "copy", "--to", self.uri, self.old)
        rewrites = json.loads(run("nix", "store", "make-content-addressed", "--json", self.old).stdout)["rewrites"]
        self.new = rewrites[self.old]

    def evaluate(self, attributes: str, *words: str, status: int = 0, **variables: str) -> tuple[str, str]:
        expression = f'builtins.fetchClosure {{ fromStore = "{self.uri}"; {attributes} }}'
        settings = {**FEATURES, "NIX_STATE_DIR": f"{self.scratch}/fresh", **variables}
        done = self.run("nix", "eval", "--raw", *words, "--expr", expression, status=status, **settings)
        return done.stdout, done.stderr


@pytest.fixture
def fetching(run: Runner, scratch: Path) -> Iterator[Fetching]:
    yield Fetching(run, scratch)
    run("verglas", "umount", status=None)


@pytest.mark.slow
@pytest.mark.fuse
def test_a_closure_is_fetched_under_its_new_name(fetching: Fetching) -> None:
    old, new, run = fetching.old, fetching.new, fetching.run
    assert old != new
    text = run("verglas", "cat", new).stdout.split()
    assert text[2] == new
    assert run("verglas", "cat", text[0]).stdout == f"{text[0]} is inner, {text[0]}\n"
    assert "fixed:r:sha256:" in run("nix", "path-info", "--json", new).stdout

    # Nobody signed anything: the name vouches for the contents. Pure evaluation wants it so.
    assert fetching.evaluate(f"fromPath = {old}; toPath = {new};")[0] == new
    fresh = {"NIX_STATE_DIR": f"{fetching.scratch}/fresh"}
    assert run("nix", "path-info", "-r", new, **fresh).stdout.count("\n") == 3
    assert run("nix-store", "--check-validity", old, status=1, **fresh)
    run("nix", "store", "verify", "--all", "--no-trust", **fresh)

    _, said = fetching.evaluate(f'fromPath = {old}; toPath = "";', status=1)
    assert f"rewriting '{old}' to content-addressed form yielded '{new}'; please set" in said
    _, said = fetching.evaluate(
        f"fromPath = {old}; toPath = {text[0]};", status=1, NIX_STATE_DIR=f"{fetching.scratch}/other"
    )
    assert f"yielded '{new}', while '{text[0]}' was expected" in said


@pytest.mark.slow
@pytest.mark.fuse
def test_without_a_new_name_signatures_and_purity_count(fetching: Fetching, expects_warnings: object) -> None:
    attributes = f"fromPath = {fetching.old};"
    assert "signature" in fetching.evaluate(attributes, "--impure", status=1)[1]
    assert fetching.evaluate(attributes, "--impure", "--no-require-sigs")[0] == fetching.old
    assert "requires a content-addressed path" in fetching.evaluate(attributes, "--no-require-sigs", status=1)[1]
    plain = fetching.run("nix-build", "--no-out-link", "-A", "plain").stdout.strip()
    new = fetching.run("verglas", "make-content-addressed", plain).stdout.split("'")[3]
    fetching.run("nix", "copy", "--to", fetching.uri, new)
    assert fetching.evaluate(f"fromPath = {new};", NIX_STATE_DIR=f"{fetching.scratch}/other")[0] == new


@pytest.mark.slow
@pytest.mark.fuse
def test_only_caches_on_the_network_are_asked(fetching: Fetching) -> None:
    attributes = f"fromPath = {fetching.old}; toPath = {fetching.new};"
    assert "only supports http:// and https://" in fetching.evaluate(attributes, status=1, _NIX_IN_TEST="")[1]
    fetching.uri += "?local-nar-cache=/x"
    assert "does not support URL query parameters" in fetching.evaluate(attributes, status=1)[1]


def test_it_is_there_only_if_it_is_asked_for(run: Runner) -> None:
    expression = "builtins ? fetchClosure"
    assert run("nix-instantiate", "--eval", "-E", expression).stdout == "false\n"
    assert run("nix-instantiate", "--eval", "-E", expression, **FEATURES).stdout == "true\n"
    for wrong, said in (
        ("{ }", "'fromPath' is missing"),
        ("{ a = 1; }", "'a' isn't supported"),
        ('{ fromPath = "/x"; }', "is not in the Nix store"),
    ):
        failed = run("nix-instantiate", "--eval", "-E", f"builtins.fetchClosure {wrong}", status=1, **FEATURES)
        assert said in failed.stderr


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.fuse
def test_new_names_are_those_that_real_nix_gives(fetching: Fetching, real_nix: RealNix) -> None:
    closure = fetching.run("nix-store", "-qR", fetching.old).stdout.split()
    words = ("copy", "--no-check-sigs", "--from", fetching.uri, fetching.old)
    real_nix.run("nix", *words)
    theirs = json.loads(real_nix.run("nix", "store", "make-content-addressed", "--json", *closure))["rewrites"]
    ours = fetching.run("nix", "store", "make-content-addressed", "--json", *closure).stdout
    assert json.loads(ours)["rewrites"] == theirs
