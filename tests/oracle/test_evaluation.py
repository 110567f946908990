"""Expressions evaluated by us and by real Nix 2.8: the same values, and the same store paths to the last bit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix

pytestmark = pytest.mark.oracle

EXPRESSIONS = Path(__file__).parent / "expressions"

FAILURES = [
    "builtins.readFile ./none",
    "import ./none.nix",
    'builtins.toFile "x" "${derivation { name = "n"; system = "s"; builder = "b"; }}"',
    'builtins.match "(" "x"',
    'builtins.hashString "sha3" "x"',
    'builtins.fromTOML "a = "',
    'derivation { name = "x.drv"; system = "s"; builder = "b"; }',
    'builtins.path { path = ./tree; sha256 = "0000000000000000000000000000000000000000000000000000"; }',
    "builtins.storePath ./tree",
    'builtins.appendContext "x" { "/x" = { path = true; }; }',
    "<nowhere>",
    '"${./none}"',
]


@pytest.fixture
def sources(scratch: Path) -> Path:
    tree = scratch / "tree"
    (tree / "folder/no").mkdir(parents=True)
    (tree / "file").write_text("content\n")
    (tree / "folder/program").write_text("#!/bin/sh\n")
    (tree / "folder/program").chmod(0o755)
    (tree / "link").symlink_to("file")
    for name in ("derivations.nix", "values.nix"):
        shutil.copy(EXPRESSIONS / name, scratch / name)
    return scratch


def test_derivations_have_the_same_paths(sources: Path, run: Runner, real_nix: RealNix) -> None:
    words = ("--eval", "--strict", str(sources / "derivations.nix"))
    theirs = real_nix.run("nix-instantiate", *words, "--read-write-mode").decode().replace("} {", "}\n{").splitlines()
    # Where nothing may be written the paths are the same; real Nix cannot do all of these then.
    for mode in ((), ("--read-write-mode",)):
        assert run("nix-instantiate", *words, *mode).stdout.replace("} {", "}\n{").splitlines() == theirs


@pytest.mark.parametrize("system", ['a\\"b', r"a\\b", r"a\nb\tc", r"\${x}", "a,b]"])
def test_odd_systems_have_the_same_paths(system: str, run: Runner, real_nix: RealNix) -> None:
    """Nix does not escape a system in what it hashes, nor, then, in what refers to that."""
    expression = (
        f'let d = derivation {{ name = "d"; system = "{system}"; builder = "b"; }}; '
        'e = derivation { name = "e"; system = "s"; builder = "b"; inherit d; }; in [ d.drvPath d.outPath e.outPath ]'
    )
    words = ("--eval", "--strict", "-E", expression)
    assert run("nix-instantiate", *words).stdout == real_nix.run("nix-instantiate", *words).decode()


def test_derivations_have_the_same_text(sources: Path, run: Runner, real_nix: RealNix) -> None:
    """The paths are hashes of the texts, but not of those that only the store makes: references."""
    expression = (
        f'with builtins; head (filter (x: match ".*-x.drv" x.drvPath != null) (import {sources}/derivations.nix))'
    )
    run("nix-instantiate", "--eval", "--strict", "--read-write-mode", str(sources / "derivations.nix"))
    real_nix.run("nix-instantiate", "--eval", "--strict", "--read-write-mode", str(sources / "derivations.nix"))
    path = run("nix-instantiate", "--eval", "--raw", "-E", f"({expression}).drvPath").stdout
    for question in ("--references", "--hash", "--size"):
        ours = sorted(run("nix-store", "-q", question, path).stdout.split())
        assert ours == sorted(real_nix.run("nix-store", "-q", question, path).decode().split())


def test_values_are_the_same(sources: Path, run: Runner, real_nix: RealNix) -> None:
    words = ("--eval", "--strict", str(sources / "values.nix"))
    ours = run("nix-instantiate", *words).stdout.replace("; ", ";\n").splitlines()
    theirs = real_nix.run("nix-instantiate", *words).decode().replace("; ", ";\n").splitlines()
    assert ours == theirs


def test_xml_with_places_is_the_same(scratch: Path, run: Runner, real_nix: RealNix) -> None:
    (scratch / "f.nix").write_text("{\n  a = 1;\n  f = { x, y ? 2 }:\n    x;\n  s = [ (x: x) { b = null; } ];\n}\n")
    for options in (("--strict",), ("--no-location", "--strict")):
        words = ("--eval", "--xml", *options, str(scratch / "f.nix"))
        assert run("nix-instantiate", *words).stdout == real_nix.run("nix-instantiate", *words).decode()


@pytest.mark.parametrize("expression", FAILURES)
def test_what_fails_there_fails_here(sources: Path, run: Runner, real_nix: RealNix, expression: str) -> None:
    (sources / "failing.nix").write_text(expression)
    words = ("--eval", "--strict", str(sources / "failing.nix"))
    assert real_nix.result("nix-instantiate", *words).returncode == 1
    error = run("nix-instantiate", *words, status=1).stderr
    assert error.startswith("error:")
    assert "internal error" not in error
