"""Acceptance checks of the specification's rows on the language that no other test makes, and where the others are.

| rows      | shown by                                                                                              |
|-----------|-------------------------------------------------------------------------------------------------------|
| E1 E2 E11 | `tests/lang`: values, and what is never forced                                                        |
| E3        | `tests/lang`; a million elements: `core/test_limits.py`                                               |
| E4 E5 E6  | `commands/test_nix_instantiate.py`: counters; what read-only mode predicts, and writes not            |
| E7        | `commands/test_nix_build.py`: an imported derivation; installed: `tests/profiles/test_acceptance.py`  |
| E8 E10    | `test_search_path.py`, `commands/test_nix_instantiate.py`                                             |
| E9 E12    | here                                                                                                  |
| E13 W1    | `bench/`: a NixOS system; `tests/oracle`: the same derivations                                        |
| E14 E15   | here                                                                                                  |
| E16       | `core/test_derivations.py`, `tests/oracle`                                                            |
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.conftest import BIN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner


def test_a_file_is_evaluated_once_by_whatever_name_it_is_imported(run: Runner, scratch: Path) -> None:
    """Row E9; a failure is not remembered."""
    (scratch / "m").mkdir()
    (scratch / "m/default.nix").write_text('builtins.trace "file" { a = builtins.trace "attribute" 1; }')
    (scratch / "bad.nix").write_text('builtins.trace "bad" (throw "x")')
    names = ("./m", "./m/default.nix", "./m/../m", f"{scratch}/m")
    expression = f"[ {' '.join(f'(import {name}).a' for name in names)} ]"
    done = run("nix-instantiate", "--eval", "--strict", "-E", expression)
    assert done.stdout == "[ 1 1 1 1 ]\n"
    assert done.stderr == "trace: file\ntrace: attribute\n"
    again = "map (n: (builtins.tryEval (import ./bad.nix)).success) [ 1 2 ]"
    assert run("nix-instantiate", "--eval", "--strict", "-E", again).stderr == "trace: bad\n" * 2


def test_paths_of_an_imported_link_are_relative_to_where_it_leads(run: Runner, scratch: Path) -> None:
    """Row E15."""
    (scratch / "sub").mkdir()
    (scratch / "sub/b.nix").write_text("import ./c.nix")
    (scratch / "sub/c.nix").write_text("5")
    (scratch / "a.nix").symlink_to("sub/b.nix")
    (scratch / "folder").symlink_to("sub")
    (scratch / "loop.nix").symlink_to("loop.nix")
    for words in (["a.nix"], ["-E", "import ./a.nix"], ["-E", "import ./folder/b.nix"]):
        assert run("nix-instantiate", "--eval", *words).stdout == "5\n"
    for words in (["loop.nix"], ["-E", "import ./loop.nix"]):
        assert f"'{scratch}/loop.nix'" in run("nix-instantiate", "--eval", *words, status=1).stderr


def test_a_small_address_space_suffices(environ: dict[str, str]) -> None:
    """Row E12: what is reserved does not follow from the memory that the machine has."""
    command = 'ulimit -v 1000000 && exec "$0" "$@"'
    words = ["sh", "-c", command, str(BIN / "nix-instantiate"), "--eval", "-E", "1"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_what_is_inherited_is_evaluated_once(run: Runner) -> None:
    """Row E14."""
    expression = 'let x = builtins.trace "x" 1; y = { inherit x; }; z = { inherit (y) x; }; in x + y.x + z.x'
    done = run("nix-instantiate", "--eval", "-E", expression)
    assert (done.stdout, done.stderr) == ("3\n", "trace: x\n")


def test_an_attribute_that_is_kept_keeps_no_others(run: Runner) -> None:
    """Row E14: 400 MB of siblings."""
    big = """builtins.foldl' (text: _: text + text) "${toString n} sixteen letters" (builtins.genList (x: x) 16)"""
    expression = f"""let
        small = n: (rec {{ big = {big}; small = builtins.stringLength big; }}).small;
        list = builtins.genList small 400;
    in builtins.deepSeq list (builtins.length list)"""
    done = run("nix-instantiate", "--eval", "-E", expression, NIX_SHOW_STATS="1")
    assert done.stdout == "400\n"
    assert json.loads(done.stderr)["peakMemoryBytes"] < 100_000_000


def test_peak_memory_is_that_of_the_program_and_not_of_who_began_it(environ: dict[str, str]) -> None:
    parent = "import os, sys; large = bytes(range(256)) * 800_000; os.execv(sys.argv[1], sys.argv[1:])"
    words = [sys.executable, "-c", parent, str(BIN / "nix-instantiate"), "--eval", "-E", "1"]
    done = subprocess.run(words, env=environ | {"NIX_SHOW_STATS": "1"}, capture_output=True, text=True, check=True)
    assert json.loads(done.stderr)["peakMemoryBytes"] < 100_000_000
