"""Derivations whose output paths follow from what is built (`ca-derivations`): the same to real Nix 2.8 and to us."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

PACKAGES = r"""
{ seed ? 1 }:
let
  basic = { system = builtins.currentSystem; builder = "/bin/sh"; PATH = "/usr/bin:/bin"; };
  floating = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
  make = name: text: more: derivation (basic // { inherit name; args = [ "-ec" text ]; } // more);
in rec {
  plain = make "plain" "echo plain >$out" { };
  # Outputs that refer to each other and to themselves, the last one first in the alphabet.
  root = make "root"
    "echo $seed; mkdir $out; echo ${plain} >$out/dep; ln -s $out $out/self; echo $out >$dev; echo $dev $out >$bin"
    (floating // { inherit seed; outputs = [ "out" "dev" "bin" ]; });
  dependent = make "dependent" "echo ${root}/self ${root.bin} >$out" floating;
  transitive = make "transitive" "mkdir $out; echo ${dependent} >$out/x; echo $out $out $out >$out/y" floating;
  ordinary = make "ordinary" "echo ${dependent} $out >$out" { };
  above = make "above" "echo ${ordinary} >$out" floating;
  fixed = make "fixed" "echo ${dependent} >&2; echo foo >$out" {
    outputHashMode = "flat"; outputHashAlgo = "sha256";
    outputHash = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c";
  };
  flat = make "flat" "echo flat >$out" (floating // { outputHashMode = "flat"; outputHashAlgo = "sha1"; });
  sha512 = make "sha512" "mkdir $out; echo x >$out/x" (floating // { outputHashAlgo = "sha512"; });
  attributes = make "attributes" ". ./.attrs.sh; o=\${outputs[out]}; echo ${root} >$o; echo $greeting >>$o"
    (floating // { __structuredAttrs = true; builder = "/bin/bash"; greeting = "hi ${dependent}"; });
  asFile = make "as-file" "read line <$textPath; echo $line $out ${placeholder "out"} >$out"
    (floating // { passAsFile = [ "text" ]; text = "text ${root} ${placeholder "out"}\n"; });
  graph = make "graph" "cat closure >$out" (floating // { exportReferencesGraph = [ "closure" ordinary ]; });
  imported = import (make "imported" "echo '{ x = \"${root}\"; }' >$out" floating);
  uses = make "uses" "echo ${imported.x} >$out" { };
}
"""
ATTRIBUTES = (
    *("root", "dependent", "transitive", "ordinary", "above", "fixed", "flat", "sha512"),
    *("attributes", "asFile", "graph", "uses", "root.dev", "root.bin"),
)


@pytest.fixture
def options(scratch: Path, run: Runner) -> Iterator[list[str]]:
    """What every command is told; there is `packages.nix`, and the key pair `sk` and `pk`."""
    (scratch / "packages.nix").write_text(PACKAGES)
    run("nix-store", "--generate-binary-cache-key", "k-1", scratch / "sk", scratch / "pk")
    shell = " ".join(each for each in ("/bin", "/usr", "/lib", "/lib64") if os.path.exists(each))
    yield [
        *("--option", "experimental-features", "nix-command ca-derivations"),
        *("--option", "sandbox-paths", shell),
        *("--option", "secret-key-files", str(scratch / "sk")),
    ]
    run("verglas", "umount", status=None)


def build(scratch: Path, *attributes: str) -> list[str]:
    words = ["nix-build", str(scratch / "packages.nix"), "--no-out-link"]
    return [*words, *(word for attribute in attributes for word in ("-A", attribute))]


def realisations(cache: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in (cache / "realisations").iterdir()}


def test_the_same_paths_and_realisations(run: Runner, real_nix: RealNix, scratch: Path, options: list[str]) -> None:
    command = [*build(scratch, *ATTRIBUTES), *options]
    ours = run(*command)
    theirs = real_nix.result(*command)
    assert ours.stdout == theirs.stdout.decode(), theirs.stderr.decode()

    said = [line for line in theirs.stderr.decode().splitlines() if line.startswith("resolved derivation")]
    assert sorted(set(said)) == sorted({line for line in ours.stderr.splitlines() if line.startswith("resolved")})

    file = str(scratch / "packages.nix")
    copied = ["root", "transitive", "ordinary", "above", "fixed", "attributes", "uses"]
    run("nix", "copy", "--to", f"file://{scratch}/ours", "-f", file, *copied, *options)
    real_nix.run("nix", "copy", "--to", f"file://{scratch}/theirs", "-f", file, *copied, *options)
    assert realisations(scratch / "ours") == realisations(scratch / "theirs")
    assert sum('"k-1:' in text for text in realisations(scratch / "ours").values()) > len(copied)

    info = ("nix", "realisation", "info", "-f", file, *copied, "root.dev", "above", *options)
    assert run(*info).stdout == real_nix.run(*info).decode()
    assert run(*info, "--json").stdout == real_nix.run(*info, "--json").decode()
    assert json.loads(run(*info, "--json").stdout)
    for words in (
        ("nix", "path-info", "-f", file, "dependent"),
        ("nix", "build", "-f", file, "root", "--no-link", "--json"),
    ):
        assert run(*words, *options).stdout == real_nix.run(*words, *options).decode()
    unbuilt = ("nix", "path-info", "-f", file, "dependent", "--arg", "seed", "9", *options)
    assert "cannot operate on an output of unbuilt content-addressed derivation" in run(*unbuilt, status=1).stderr
    assert b"cannot operate on an output of unbuilt content-addressed derivation" in real_nix.result(*unbuilt).stderr
    for path in ours.stdout.split():
        words = ("nix-store", "-q", "--deriver", path, *options)
        assert run(*words).stdout == real_nix.run(*words).decode()
    # Real Nix says that it does not know.
    drv = run("nix-instantiate", file, "-A", "above", *options).stdout.strip()
    assert run("nix-store", "-q", "--outputs", drv).stdout.strip() == ours.stdout.split()[4]
    show = ("nix", "show-derivation", "-f", file, "root", "ordinary", *options)
    assert json.loads(run(*show).stdout) == json.loads(real_nix.run(*show))


def test_equal_results_are_built_upon_once(run: Runner, scratch: Path, options: list[str]) -> None:
    def with_seed(seed: int, attribute: str, *more: str) -> tuple[str, str]:
        done = run(*build(scratch, attribute), "--arg", "seed", str(seed), *more, *options)
        return done.stdout, done.stderr

    first, _ = with_seed(1, "ordinary")
    _, said = with_seed(2, "root")
    assert "building '" in said
    # Nothing is left to build: what it resolves to was built for the other seed.
    second, said = with_seed(2, "ordinary", "-j0")
    assert first == second
    assert "building '" not in said


def test_real_nix_substitutes_what_we_built(run: Runner, real_nix: RealNix, scratch: Path, options: list[str]) -> None:
    file = str(scratch / "packages.nix")
    attributes = ("transitive", "ordinary", "root.dev")
    outputs = run(*build(scratch, *attributes), *options).stdout
    run("nix", "copy", "--to", f"file://{scratch}/cache", "-f", file, *attributes, *options)
    trust = ("--option", "trusted-public-keys", (scratch / "pk").read_text().strip())
    command = [*build(scratch, *attributes), "-j0", "--option", "substituters", f"file://{scratch}/cache", *trust]
    assert real_nix.run(*command, *options).decode() == outputs


def test_we_substitute_what_real_nix_built(run: Runner, real_nix: RealNix, scratch: Path, options: list[str]) -> None:
    file = str(scratch / "packages.nix")
    attributes = ("transitive", "ordinary", "root.dev")
    outputs = real_nix.run(*build(scratch, *attributes), *options).decode()
    real_nix.run("nix", "copy", "--to", f"file://{scratch}/cache", "-f", file, *attributes, *options)
    command = [*build(scratch, *attributes), "-j0", "--option", "substituters", f"file://{scratch}/cache", *options]
    # Whoever is not trusted could choose among all paths that are signed.
    done = run(*command, status=1)
    assert "does not have a valid signature for the realisation of" in done.stderr
    trust = ("--option", "trusted-public-keys", (scratch / "pk").read_text().strip())
    assert run(*command, *trust).stdout == outputs
    info = ("nix", "realisation", "info", "--json", "-f", file, "dependent", "root", *options)
    assert run(*info).stdout == real_nix.run(*info).decode()


def test_without_the_feature_nothing_is_built(
    run: Runner, real_nix: RealNix, scratch: Path, options: list[str]
) -> None:
    for attribute in ("root", "ordinary"):
        instantiate = ("nix-instantiate", str(scratch / "packages.nix"), "-A", attribute, *options)
        drv = run(*instantiate).stdout.strip()
        assert real_nix.run(*instantiate).decode().strip() == drv
        ours, theirs = run("nix-store", "-r", drv, status=1), real_nix.result("nix-store", "-r", drv)
        assert ours.stderr.splitlines()[-1] == theirs.stderr.decode().splitlines()[-1]
        assert theirs.returncode == 1
