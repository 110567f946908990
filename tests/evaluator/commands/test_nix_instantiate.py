from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import BIN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix

PACKAGE = """
{ name ? "pkg", extra ? { } }:
let make = attributes: derivation ({ system = "x86_64-linux"; builder = "/bin/sh"; } // attributes);
in rec {
  one = make ({ inherit name; outputs = [ "out" "man" ]; } // extra);
  two = make { name = "two"; dep = one.man; };
  three = { recurseForDerivations = true; inner = two; };
  not = { hidden = two; };
  bad = make { name = "bad"; x = throw "bad package"; };
}
"""


@pytest.fixture
def tree(scratch: Path) -> Path:
    (scratch / "default.nix").write_text(PACKAGE)
    return scratch


def test_values(run: Runner) -> None:
    assert run("nix-instantiate", "--eval", "-E", "{ a = 2; b = x: x; }").stdout == "{ a = 2; b = <CODE>; }\n"
    assert run("nix-instantiate", "--eval", "--json", "-E", '{ a = [ "x" null ]; }').stdout == '{"a":["x",null]}'
    assert run("nix-instantiate", "--eval", "--raw", "-E", '"x"').stdout == "x"
    assert run("nix-instantiate", "--eval", "-", stdin="1 + 2").stdout == "3\n"


def test_unevaluated_parts_stay_unevaluated_without_strict(run: Runner) -> None:
    expression = "{ a = builtins.length [ 1 ]; }"
    assert run("nix-instantiate", "--eval", "-E", expression).stdout == "{ a = <CODE>; }\n"
    assert run("nix-instantiate", "--eval", "--strict", "-E", expression).stdout == "{ a = 1; }\n"


def test_names_that_need_quotes_have_them(run: Runner) -> None:
    assert run("nix-instantiate", "--eval", "-E", '{ "a b" = 1; "if" = 2; c-d = 3; }').stdout == (
        '{ "a b" = 1; c-d = 3; "if" = 2; }\n'
    )


def test_arguments(run: Runner, tree: Path) -> None:
    words = ("--eval", "-A", "one.name", "--argstr", "name", "other")
    assert run("nix-instantiate", *words).stdout == '"other"\n'
    assert run("nix-instantiate", "--eval", "-A", "one.x", "--arg", "extra", "{ x = 1 + 2; }").stdout == "3\n"


def test_instantiation_writes_what_read_only_mode_predicts(run: Runner, tree: Path) -> None:
    predicted = run("nix-instantiate", "-A", "three", "--readonly-mode").stdout
    assert not (tree / "state").exists()
    assert run("nix-instantiate", "-A", "three").stdout == predicted
    (path,) = predicted.split()
    derivation = run("verglas", "cat", path).stdout
    assert '-pkg.drv",["man"])' in derivation


def test_sets_are_entered_only_on_request(run: Runner, tree: Path) -> None:
    printed = run("nix-instantiate", "-A", "not", "--readonly-mode").stdout
    assert printed.count("\n") == 1
    error = run("nix-instantiate", "-A", "not.hidden.name", "--readonly-mode", status=1).stderr
    assert "does not evaluate to a derivation" in error


def test_outputs_that_are_not_the_first(run: Runner, tree: Path) -> None:
    assert run("nix-instantiate", "-A", "one.man", "--readonly-mode").stdout.endswith("-pkg.drv!man\n")


def test_errors_name_the_attribute_path(run: Runner, tree: Path) -> None:
    error = run("nix-instantiate", "-A", "oen", status=1).stderr
    assert "attribute 'oen' in selection path 'oen' not found" in error
    assert "Did you mean" in error
    assert "one" in error
    assert "bad package" in run("nix-instantiate", "-A", "bad", status=1).stderr


def test_roots(run: Runner, tree: Path) -> None:
    link = run("nix-instantiate", "-A", "one", "--add-root", "root", "--indirect").stdout.strip()
    assert link == str(tree / "root")
    assert os.readlink(tree / "root").endswith("-pkg.drv")
    assert len(list((tree / "state/gcroots/auto").iterdir())) == 1


def test_search_path(run: Runner, scratch: Path) -> None:
    for folder in ("one", "two"):
        (scratch / folder).mkdir()
        (scratch / folder / "x.nix").write_text(f'"{folder}"')
    (scratch / "two/y.nix").write_text('"only here"')
    words = ("--eval", "-E", "[ (import <x.nix>) (import <y.nix>) ]", "--strict")
    assert run("nix-instantiate", *words, "-I", "one", NIX_PATH="two").stdout == '[ "one" "only here" ]\n'
    assert run("nix-instantiate", "--eval", "-E", "import <p/x.nix>", "-I", "p=two").stdout == '"two"\n'
    assert run("nix-instantiate", "--find-file", "p", "-I", "p=two").stdout == f"{scratch}/two\n"
    error = run("nix-instantiate", "--eval", "-E", "<abc>", NIX_PATH="a=one", status=1).stderr
    assert "file 'abc' was not found in the Nix search path (add it using $NIX_PATH or -I)" in error
    assert run("nix-instantiate", "--eval", "-E", "(builtins.tryEval <nonexist>).success").stdout == "false\n"


def test_overridden_corepkgs(run: Runner, scratch: Path) -> None:
    (scratch / "fetchurl.nix").write_text('"mine"')
    assert (
        run("nix-instantiate", "--eval", "-E", "import <nix/fetchurl.nix>", NIX_PATH=f"nix={scratch}").stdout
        == '"mine"\n'
    )
    assert run("nix-instantiate", "--eval", "-E", "<nix/fetchurl.nix>").stdout == "/__corepkgs__/fetchurl.nix\n"


def test_restricted_evaluation(run: Runner, scratch: Path) -> None:
    (scratch / "secret").write_text("x")
    (scratch / "allowed").mkdir()
    (scratch / "allowed/f.nix").write_text("1")
    (scratch / "allowed/link").symlink_to(scratch / "secret")
    words = ("--eval", "--restrict-eval", "-I", str(scratch / "allowed"))
    assert run("nix-instantiate", *words, "-E", "import <f.nix>").stdout == "1\n"
    refused = run("nix-instantiate", *words, "-E", f"builtins.readFile {scratch}/secret", status=1).stderr
    assert f"access to absolute path '{scratch}/secret' is forbidden in restricted mode" in refused
    through = run("nix-instantiate", *words, "-E", f"builtins.readFile {scratch}/allowed/link", status=1).stderr
    assert "is forbidden in restricted mode" in through
    assert run("nix-instantiate", *words, "-E", f"builtins.pathExists {scratch}/secret").stdout == "false\n"
    assert run("nix-instantiate", *words, "-E", 'builtins.getEnv "HOME"').stdout == '""\n'


def test_pure_evaluation(run: Runner, scratch: Path) -> None:
    words = ("--eval", "--pure-eval", "-E")
    assert "cannot look up '<x>' in pure evaluation mode" in run("nix-instantiate", *words, "<x>", status=1).stderr
    assert run("nix-instantiate", *words, "builtins ? currentTime || builtins ? currentSystem").stdout == "false\n"


def test_statistics(run: Runner) -> None:
    words = ("--eval", "--strict", "-E", "let f = x: x + 1; in { a = map f [ 1 2 3 ]; } // { b = [ 1 ] ++ [ 2 ]; }")
    first, second = (
        json.loads(run("nix-instantiate", *words, NIX_SHOW_STATS="1", NIX_COUNT_CALLS="1").stderr) for _ in range(2)
    )
    for counters in (first, second):
        del counters["cpuTime"], counters["peakMemoryBytes"]
    assert first == second
    assert first["nrFunctionCalls"] == 3
    assert first["nrOpUpdates"] == 1
    assert first["list"]["concats"] == 1
    assert first["primops"] == {"map": 1}
    assert [(entry["name"], entry["column"], entry["count"]) for entry in first["functions"]] == [("f", 9, 3)]
    assert run("nix-instantiate", *words).stderr == ""


def test_operators_count_as_calls_of_their_builtins(run: Runner) -> None:
    expression = "[ (map (x: x < 2) [ 1 2 3 ]) (2 >= 1) (if 1 > 2 then 1 else -1) (2 * 3) (4 / 2) ]"
    words = ("--eval", "--strict", "-E", expression)
    for on in ("1", ""):  # as in Nix only 0 is off
        counters = json.loads(run("nix-instantiate", *words, NIX_SHOW_STATS=on, NIX_COUNT_CALLS=on).stderr)
        assert counters["primops"] == {"div": 1, "lessThan": 5, "map": 1, "mul": 1, "sub": 1}
        assert counters["nrPrimOpCalls"] == 9


def test_attributes_are_counted_when_they_are_selected(run: Runner) -> None:
    expression = "let s = { a = 1; b = 2; }; f = x: y: y; in map (n: builtins.seq s (f s.b s.a)) [ 1 2 3 ]"
    words = ("nix-instantiate", "--eval", "--strict", "-E", expression)
    attributes = json.loads(run(*words, NIX_SHOW_STATS="1", NIX_COUNT_CALLS="1").stderr)["attributes"]
    assert [(entry.get("column"), entry["count"]) for entry in attributes] == [(None, 3), (11, 3)]


def test_all_that_evaluates_prints_statistics_once(run: Runner, scratch: Path) -> None:
    file = scratch / "x.nix"
    file.write_text('[ (derivation { name = "x-1"; system = builtins.currentSystem; builder = "/bin/sh"; }) ]')
    for words in (
        ("nix-instantiate", file),
        ("nix-build", "--dry-run", file),
        ("nix-env", "-qa", "-f", file),
        ("nix-env", "-qas", "-f", file),
        ("verglas", "eval", "-f", file, "--apply", "builtins.length"),
    ):
        done = run(*words, NIX_SHOW_STATS="1")
        assert done.stderr.count('"nrThunks"') == 1
        assert "nrThunks" not in run(*words, NIX_SHOW_STATS="0").stderr


def test_flame_graph(run: Runner, scratch: Path) -> None:
    expression = "let slow = n: if n == 0 then 0 else slow (n - 1); in slow 2000"
    run("verglas", "eval", "--expr", expression, "--profile", str(scratch / "graph"))
    folded = (scratch / "graph.folded").read_text().splitlines()
    assert any(line.startswith("all;slow (") for line in folded)
    assert all(line.rpartition(" ")[2].isdigit() for line in folded)
    assert (scratch / "graph.svg").read_text().startswith("<svg ")


@pytest.mark.slow
def test_an_interrupted_evaluation_ends_soon_and_says_so(environ: dict[str, str]) -> None:
    fold = "builtins.foldl' (a: b: a + b) 0 l"
    long = f"let l = builtins.genList (x: x) 5000000; in builtins.foldl' (a: b: a + {fold}) 0 l"
    words = [str(BIN / "nix-instantiate"), "--eval", "-E", f"builtins.trace 1 ({long})"]
    with subprocess.Popen(words, env=environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "trace: 1\n"
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 1
    assert rest == "error: interrupted by the user\n"


CALLS = (
    'builtins.tryEval (throw "example")',
    "({ x }: x) { }",
    "(x: y: z: x) 1 2 3",
    "(x: x) 1 2",
    "1 2",
    "let f = x: y: x; g = f 1; in g 2",
    "builtins.deepSeq (builtins.map (x: x) [ 1 2 ]) 1",
    "builtins.deepSeq (builtins.mapAttrs (n: v: v) { a = 1; }) 1",
    "builtins.foldl' (a: b: a) 0 [ 1 2 ]",
    "{ __functor = self: x: x; } 3",
    "if 1 < 2 then 3 - 4 else 5 * 6",
    "builtins.sort builtins.lessThan [ 2 1 ]",
    "let sub = a: b: a; __sub = sub; in 1 - 2",
)


def traced(stderr: str) -> list[str]:
    return [line.rpartition(" ")[0] for line in stderr.splitlines() if line.startswith("function-trace")]


def test_calls_are_traced_with_time_and_place(run: Runner, scratch: Path) -> None:
    (scratch / "f.nix").write_text("{ f = x: x; }")
    (scratch / "a.nix").write_text("(import ./f.nix).f 1")
    shown = run("nix-instantiate", "--eval", "--trace-function-calls", "a.nix").stderr
    where = f"{scratch}/a.nix"
    assert traced(shown) == [
        f"function-trace entered {where}:1:2 at",
        f"function-trace exited {where}:1:2 at",
        f"function-trace entered {where}:1:1 at",
        f"function-trace exited {where}:1:1 at",
    ]
    times = [int(line.rpartition(" ")[2]) for line in shown.splitlines() if line.startswith("function-trace")]
    assert times == sorted(times)
    assert times[0] > 10**18


@pytest.mark.oracle
@pytest.mark.parametrize("expression", CALLS)
def test_calls_are_traced_as_real_nix_traces_them(run: Runner, real_nix: RealNix, expression: str) -> None:
    words = ("nix-instantiate", "--eval", "--trace-function-calls", "-E", expression)
    theirs = real_nix.result(*words)
    ours = run(*words, status=theirs.returncode)
    assert traced(ours.stderr) == traced(theirs.stderr.decode())


def test_the_release_of_the_language_is_one_that_current_nixpkgs_accepts_and_can_be_chosen(run: Runner) -> None:
    """Its default.nix of 2026 refuses what is below 2.18, whatever builtins there are."""
    newer = run("nix-instantiate", "--eval", "-E", 'builtins.compareVersions builtins.nixVersion "2.18"')
    assert newer.stdout == "1\n"
    chosen = run("nix-instantiate", "--eval", "--option", "nix-version", "2.8.0", "-E", "builtins.nixVersion")
    assert chosen.stdout == '"2.8.0"\n'
