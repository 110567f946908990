"""Expressions evaluated by us and by real Nix 2.8: the same values, and the same store paths to the last bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix

pytestmark = pytest.mark.oracle

DERIVATIONS = r"""
let
  d = a: derivation ({ name = "x"; system = "s"; builder = "/b"; } // a);
  text = builtins.toFile "text" "hi";
  multi = d { name = "multi"; outputs = [ "z" "out" "dev" ]; };
  fixed = d { name = "f"; outputHash = "0000000000000000000000000000000000000000000000000000"; outputHashAlgo = "sha256"; };
in map (x: { inherit (x) drvPath outPath; all = map toString x.all; }) [
  (d { })
  multi
  fixed
  (d { a = "\n\t\"\\\r$x"; "é" = "1"; "𝔘" = "2"; "￿" = "3"; args = [ "-e" text 1 ./tree ]; })
  (d { x = [ 1 2.5 true null "é" text [ ] [ "a" ] ]; a = multi.dev; b = multi; c = multi.drvPath; })
  (d { c = builtins.unsafeDiscardOutputDependency multi.drvPath; u = fixed; v = d { inherit fixed; }; })
  (d { __ignoreNulls = true; x = null; y = 1; })
  (d { __structuredAttrs = true; x = [ 1 2.5 true null "é\n" text { a = 1; b = multi; } ]; outputs = [ "out" "doc" ]; })
  (d { outputHash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; outputHashMode = "recursive"; })
  (d { outputHash = "d41d8cd98f00b204e9800998ecf8427e"; outputHashAlgo = "md5"; p = multi.dev; })
  (d { outputHash = "0000000000000000000000000000000000000000"; outputHashAlgo = "sha1"; outputHashMode = "recursive"; })
  (d { src = ./tree; filtered = builtins.filterSource (p: t: t != "symlink" && baseNameOf p != "no") ./tree; })
  (d { named = builtins.path { path = ./tree; name = "named"; filter = p: t: t == "directory"; }; })
  (d { flat = builtins.path { path = ./tree/file; recursive = false; }; })
  (import <nix/fetchurl.nix> { url = "http://example.org/x.tar.gz"; sha256 = "0000000000000000000000000000000000000000000000000000"; })
  (import <nix/fetchurl.nix> { url = "http://e.org/y"; hash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; executable = true; })
]
"""

VALUES = r"""
let
  d = derivation { name = "n"; system = "s"; builder = "b"; outputs = [ "out" "dev" ]; };
  regex = p: s: [ (builtins.match p s) (builtins.split p s) ];
in {
  contexts = builtins.getContext "${d} ${d.dev} ${d.drvPath} ${./tree/file}";
  xml = builtins.toXML { a = [ 1 1.5 "<&>\"\n" null true ./. ]; f = { x, y ? 1, ... }@z: x; g = x: x; inherit d; };
  json = builtins.toJSON { a = [ 1 1.5 1000000.0 0.1 "\"\\\n\t\r" null true ]; inherit d; e = { }; };
  versions = map (v: [ (builtins.parseDrvName v) (builtins.splitVersion v) ])
    [ "a-1.0" "b" "c-d-2pre" "" "x--1" "1.2.3-rc4" "name-_1" ];
  compared = builtins.concatMap (a: map (b: builtins.compareVersions a b) [ "1.0" "1" "1.0pre" "2.3a" "2.3.1" "" ])
    [ "1.0" "1" "1.0pre" "2.3a" "2.3.1" "" ];
  hashes = map (t: builtins.hashString t "abc") [ "md5" "sha1" "sha256" "sha512" ];
  fileHashes = map (t: builtins.hashFile t ./tree/file) [ "md5" "sha256" ];
  dir = builtins.readDir ./tree;
  read = builtins.readFile ./tree/file;
  exists = map builtins.pathExists [ ./tree ./tree/file ./tree/none ./tree/link /none/at/all ];
  regexes = [
    (regex "a(b*)c" "abbc") (regex "(a|ab)(c|bcd)(d*)" "abcd") (regex "[[:space:]]+" "a  b c")
    (regex "" "ab") (regex "(é)|(.)" "aé") (regex "^a|b$" "aab")
  ];
  fromJSON = builtins.fromJSON ''{ "a": [1, -2.5e3, "x\u00e9\n", null, true, {}], "a": 1 }'';
  fromTOML = builtins.fromTOML "a = 1\nb = [1.5, 2]\n[t.'u v']\ns = \"x\\n\"";
  found = builtins.findFile [ { prefix = "p"; path = ./tree; } { path = ./.; } ] "p/file";
  placeholders = map builtins.placeholder [ "out" "dev" ];
  names = [ (baseNameOf ./tree) (dirOf ./tree) (builtins.toPath "/a/../b//c/") ];
  floats = [ 1.0 0.1 1.0e10 1.0e-5 123456789.0 (1.0 / 3) ];
  reserved = { "a b" = 1; c = 2; "1" = 3; };
}
"""

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
    (scratch / "derivations.nix").write_text(DERIVATIONS)
    (scratch / "values.nix").write_text(VALUES)
    return scratch


def test_derivations_have_the_same_paths(sources: Path, run: Runner, real_nix: RealNix) -> None:
    words = ("--eval", "--strict", str(sources / "derivations.nix"))
    theirs = real_nix.run("nix-instantiate", *words, "--read-write-mode").decode().replace("} {", "}\n{").splitlines()
    # Where nothing may be written the paths are the same; real Nix cannot do all of these then.
    for mode in ((), ("--read-write-mode",)):
        assert run("nix-instantiate", *words, *mode).stdout.replace("} {", "}\n{").splitlines() == theirs


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
