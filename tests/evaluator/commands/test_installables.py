"""Commands of `nix` whose operands are attributes: they are evaluated, and built where that is wanted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Runner

pytestmark = pytest.mark.slow

PACKAGES = """
let
  make = name: attributes: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    args = [ "-c" ''
      mkdir -p $out/bin $out/nix-support
      printf '#!/bin/sh\\necho %s "$@"\\n' $name > $out/bin/$program
      chmod +x $out/bin/$program
      echo $propagated > $out/nix-support/propagated-user-env-packages
    '' ];
    program = "tool";
  } // attributes);
in rec {
  other = make "other-2" { program = "helper"; };
  tool = make "tool-1.0" { propagated = other; };
  named = make "named" { program = "x"; } // { meta.mainProgram = "x"; };
}
"""


@pytest.fixture
def packages(scratch: Path, run: Runner) -> Iterator[Path]:
    (scratch / "default.nix").write_text(PACKAGES)
    yield scratch
    run("verglas", "umount", status=None)


def test_run_starts_the_program_of_a_package(run: Runner, packages: Path) -> None:
    assert run("nix", "run", "-f", "default.nix", "tool", "--", "a", "-b").stdout == "tool-1.0 a -b\n"
    assert run("verglas", "run-package", "named").stdout == "named\n"
    assert "name one whose program is to be run" in run("nix", "run", status=1).stderr


def test_shell_has_programs_of_packages_and_of_what_they_propagate(run: Runner, packages: Path) -> None:
    assert (
        run("nix", "shell", "-f", "default.nix", "tool", "-c", "tool", "-x", "--help").stdout == "tool-1.0 -x --help\n"
    )
    assert run("verglas", "shell-with", "tool", "-c", "helper").stdout == "other-2\n"
    words = ("nix", "shell", "tool", "-i", "--keep", "KEPT", "-c", "/usr/bin/env")
    left = dict(line.partition("=")[::2] for line in run(*words, KEPT="1", GONE="1").stdout.splitlines())
    assert left.keys() <= {"KEPT", "PATH", "_"}, left
    assert "GONE" not in run("nix", "shell", "tool", "-u", "GONE", "-c", "/usr/bin/env", GONE="1").stdout


def test_copy_builds_what_it_copies_and_path_info_only_names_it(run: Runner, packages: Path) -> None:
    lost = run("nix", "path-info", "-f", "default.nix", "other", status=1).stderr
    assert "-other-2' is not valid" in lost
    run("nix", "copy", "-f", "default.nix", "tool", "--to", f"file://{packages}/cache")
    path = run("nix", "path-info", "-f", "default.nix", "tool").stdout
    assert path.endswith("-tool-1.0\n")
    assert run("nix", "path-info", "--store", f"file://{packages}/cache", path.strip()).stdout == path
    assert run("nix", "log", "-f", "default.nix", "tool").stdout == ""


def test_a_derivation_means_its_outputs_to_nix(run: Runner, packages: Path) -> None:
    drv = run("nix-instantiate", "-A", "other").stdout.strip()
    out = run("nix-store", "-r", drv).stdout
    assert run("nix", "path-info", drv).stdout == out
    assert run("nix", "path-info", "--derivation", drv).stdout == f"{drv}\n"
    assert run("verglas", "path-info", drv).stdout == f"{drv}\n"


def test_json_is_that_of_nix(run: Runner, packages: Path) -> None:
    path = run("nix-build", "-A", "other", "--no-out-link").stdout.strip()
    text = run("nix", "path-info", "--json", "-S", path).stdout
    keys = ["path", "narHash", "narSize", "references", "closureSize", "deriver", "registrationTime", "ultimate"]
    assert list(json.loads(text)[0]) == keys
    assert text.startswith('[{"path":"'), text
    assert text.endswith('"ultimate":true}]'), text  # Nix 2.8 ends no line here; ours does under its own name
    assert run("verglas", "path-info", "--json", "-S", path).stdout == text + "\n"


def test_expressions_of_the_command_line_are_pure_to_nix(run: Runner, scratch: Path) -> None:
    (scratch / "file").write_text("x")
    read = f"builtins.readFile {scratch}/file"
    assert "use '--impure' to override" in run("nix", "eval", "--expr", read, status=1).stderr
    for words in (("nix", "eval", "--impure"), ("nix", "eval", "--no-pure-eval"), ("verglas", "eval")):
        assert run(*words, "--expr", read).stdout == '"x"\n'
    (scratch / "e.nix").write_text(read)
    assert run("nix", "eval", "-f", "e.nix").stdout == '"x"\n'


def test_eval_writes_files(run: Runner, scratch: Path) -> None:
    run("nix", "eval", "--write-to", scratch / "out", "--expr", '{ x = "a" + "b"; y.z = "c"; }')
    assert (scratch / "out/x").read_text() == "ab"
    assert (scratch / "out/y/z").read_text() == "c"
    write = ("nix", "eval", "--write-to")
    assert "already exists" in run(*write, scratch / "out", "--expr", '"x"', status=1).stderr
    assert "invalid file name '..'" in run(*write, scratch / "o2", "--expr", '{ ".." = "x"; }', status=1).stderr
    assert "neither a string nor a set" in run(*write, scratch / "o3", "--expr", "1", status=1).stderr


def test_the_repl_shows_logs(run: Runner, packages: Path) -> None:
    (packages / "loud.nix").write_text(PACKAGES.replace("mkdir -p", "echo said; mkdir -p"))
    lines = "loud = (import ./loud.nix).other\n:b loud\n:log loud\n"
    assert "said\n" in run("nix", "repl", stdin=lines).stdout


DEV = """
derivation {
  name = "dev";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  outputs = [ "out" "dev" ];
  stdenv = ./stdenv;
}
"""


def test_the_whole_build_environment_is_told(run: Runner, packages: Path) -> None:
    (packages / "stdenv").mkdir()
    (packages / "stdenv/setup").write_text(
        "list=(1 'a \"b\"' $'x\\ny'); declare -A map=([k]=v); fun() { echo blah; }\n"
    )
    (packages / "dev.nix").write_text(DEV)
    told = json.loads(run("nix", "print-dev-env", "-f", "dev.nix", "--json").stdout)
    assert told["variables"]["list"] == {"type": "array", "value": ["1", 'a "b"', "x\ny"]}
    assert told["variables"]["map"] == {"type": "associative", "value": {"k": "v"}}
    assert told["variables"]["outputs"] == {"type": "exported", "value": "out dev"}
    assert told["bashFunctions"].keys() == {"fun"}
    code = run("nix", "print-dev-env", "-f", "dev.nix").stdout
    (packages / "env.sh").write_text(code + 'printf "%s|" "${list[@]}" "${map[k]}" "$(fun)"')
    drv = run("nix-instantiate", "dev.nix").stdout.strip()
    shown = run("nix-shell", "--pure", f"{drv}!dev", "--run", f". {packages}/env.sh").stdout
    assert shown == '1|a "b"|x\ny|v|blah|'
