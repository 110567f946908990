"""Evaluation beside real Nix 2.8, in CPU time of whole processes: micro benchmarks, and a nixpkgs tree if there is one.

BENCH_NIXPKGS names a nixpkgs tree with a `nixos/` folder in it; without it only the micro benchmarks run. The limits
are those that the project promises.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import need

if TYPE_CHECKING:
    from bench.harness import Bench

PARSE = "parse every file of the tree"
CONFIGURATION = '{ boot.loader.grub.device = "/dev/sda"; fileSystems = [ { mountPoint = "/"; device = "/dev/x"; } ]; }'

MICRO = {
    "calls": "let fib = n: if n < 2 then n else fib (n - 1) + fib (n - 2); in fib 24",
    "fold": "foldl' (a: b: a + b) 0 (genList (x: x * 2) 600000)",
    "merges": """
        let s = n: listToAttrs (genList (i: { name = "a${toString (i * n)}"; value = i; }) 40);
        in length (attrNames (foldl' (a: n: a // s n) { } (genList (n: n) 2500)))""",
    "sort": "head (sort (a: b: a < b) (genList (i: (i * 7919) - (i * 7919 / 10007) * 10007) 60000))",
    "strings": """
        let item = i: "item-${toString i}-${substring 0 3 (toString (i * 31))}";
        in stringLength (concatStringsSep "," (genList item 120000))""",
    "regexes": """
        let one = i: match "([a-z]+)-([0-9]+)(\\\\.[0-9]+)*" "package-${toString i}.2.3";
        in length (filter (x: x != null) (genList one 40000))""",
    "split": 'length (split "[, ]+" (concatStringsSep ", " (genList toString 60000)))',
    "json": """
        let v = genList (i: { name = "n${toString i}"; value = [ i (i / 2.0) true null ]; }) 20000;
        in length (fromJSON (toJSON v))""",
    "toJSON": """
        let v = genList (i: { name = "n${toString i}"; value = [ i (i / 2.0) true null ]; }) 40000;
        in stringLength (toJSON v)""",
    "toXML": """
        let v = genList (i: { name = "n${toString i}"; value = [ i (i / 2.0) true null ]; }) 20000;
        in stringLength (toXML v)""",
    "filter": "length (filter (x: x > 5) (genList (x: x) 1000000))",
    "replaceStrings": """
        let one = i: stringLength (replaceStrings [ "-" "." "_" ] [ "" "" "-" ] "foo-${toString i}.2_3");
        in foldl' (a: i: a + one i) 0 (genList (i: i) 100000)""",
    "deep recursion": """
        let f = n: if n == 0 then 0 else 1 + f (n - 1);
        in foldl' (a: b: a + f 9000) 0 (genList (x: x) 40)""",
    "with": "with { a = 1; b = 2; }; with { c = 3; }; foldl' (x: y: x + a + b + c) 0 (genList (x: x) 400000)",
    "genericClosure": """
        length (genericClosure {
          startSet = [ { key = 0; } ];
          operator = x: if x.key < 60000 then [ { key = x.key + 1; } { key = x.key + 2; } ] else [ ];
        })""",
    "pattern calls": """
        let f = { a, b ? a, ... }: a + b;
        in foldl' (x: i: x + f { a = i; c = 1; }) 0 (genList (i: i) 250000)""",
}


def run(bench: Bench) -> None:
    real = need("nix-instantiate", "nix-bin")
    theirs = {
        "NIX_STATE_DIR": f"{bench.scratch}/real/state",
        "NIX_LOG_DIR": f"{bench.scratch}/real/log",
        "HOME": f"{bench.scratch}/real/home",
    }
    for name, expression in MICRO.items():
        words = ["--eval", "-E", f"with builtins; {expression}"]
        bench.compare(
            f"micro: {name}",
            ours=["nix-instantiate", *words, "--no-eval-cache"],
            peer=[real, *words],
            peer_environ=theirs,
            clock="cpu",
            pairs=5,
            limit=1.0,
        )
    tree = os.environ.get("BENCH_NIXPKGS")
    if tree:
        _package_set(bench, real, theirs, Path(tree))


def _package_set(bench: Bench, real: str, theirs: dict[str, str], tree: Path) -> None:
    if bench.wants(PARSE):
        parse = ["--parse", *_sound_files(bench, tree)]
        bench.compare(
            PARSE,
            ours=["nix-instantiate", *parse],
            peer=[real, *parse],
            peer_environ=theirs,
            clock="cpu",
            pairs=3,
            limit=0.5,
        )
    system = [tree / "nixos", "-A", "system", "--arg", "configuration", CONFIGURATION]
    questions = {
        "hello": ([tree, "-A", "hello"], (0.9, 0.6, 0.3)),
        "NixOS system": (system, (1.0, 0.9, 0.05)),
    }
    uncached = ["--no-eval-cache", "--option", "parse-cache", "false"]
    for name, (words, limits) in questions.items():
        asked = [*words, "--readonly-mode"]
        answers = {
            program: subprocess.run([program, *asked], env=bench.environ, capture_output=True, check=True).stdout
            for program in ("nix-instantiate", real)
        }
        assert len(set(answers.values())) == 1, f"{name}: the derivations differ"
        for label, options, limit in zip(
            ("cold", "parse cache", "result cache"), (uncached, ["--no-eval-cache"], []), limits, strict=True
        ):
            bench.compare(
                f"{name}: {label}",
                ours=["nix-instantiate", *asked, *options],
                peer=[real, *asked],
                peer_environ=theirs,
                clock="cpu",
                pairs=5,
                limit=limit,
            )
        peaks = [
            _peak([program, *map(str, asked), *options], bench)
            for program, options in (("nix-instantiate", uncached), (real, []))
        ]
        bench.record(f"{name}: peak memory beside real Nix", peaks[0] / peaks[1], "x", limit=0.8)


def _sound_files(bench: Bench, tree: Path) -> list[str]:
    """All files of a tree, as find(1) lists them, but those, a handful, that are no expressions."""
    found = subprocess.run(["find", tree, "-name", "*.nix"], stdout=subprocess.PIPE, check=True, text=True)
    files = found.stdout.splitlines()
    while True:
        command = ["nix-instantiate", "--parse", *files]
        done = subprocess.run(
            command, env=bench.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        if done.returncode == 0:
            return files
        place = re.search(r"at (/.*?):\d+:\d+", done.stderr.decode())
        assert place is not None, done.stderr.decode()
        files.remove(place[1])


def _peak(words: list[str], bench: Bench) -> int:
    """Peak memory of one command in KiB."""
    process = subprocess.Popen(words, env=bench.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_maxrss
