"""Profiles beside real nix-env 2.8: generations, queries, user environments; `verglas profile apply` without changes.

With the variable BENCH_NIXPKGS set to a checkout of nixpkgs that Nix 2.8 can evaluate, `nix-env -qaP` over it, too.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import BIN, need

if TYPE_CHECKING:
    from bench.harness import Bench

PACKAGES, FILES = 100, 25


def run(bench: Bench) -> None:
    real = need("nix-env", "nix-bin")
    peer = {
        "NIX_STORE_DIR": f"{bench.scratch}/peer/store",
        "NIX_STATE_DIR": f"{bench.scratch}/peer/state",
        "NIX_LOG_DIR": f"{bench.scratch}/peer/log",
        "NIX_CONF_DIR": f"{bench.scratch}/peer/etc",
    }
    for name in ("home", "peer"):
        (bench.scratch / name).mkdir(exist_ok=True)
    sides = {"nix-env": bench.environ, real: {**bench.environ, **peer}}
    profiles = {"nix-env": f"{bench.scratch}/profile", real: f"{bench.scratch}/peer/profile"}
    folders = _lay_out(bench)
    for program, environ in sides.items():
        adder = str(Path(real).parent / "nix-store") if program == real else "nix-store"
        added = _output([adder, "--add", *folders], environ).split()
        for count in (2, PACKAGES):
            _output([program, "-p", profiles[program], "-i", *added[:count]], environ)

    def both(*arguments: str) -> tuple[list[str], list[str]]:
        ours, theirs = ([program, "-p", profiles[program], *arguments] for program in sides)
        return ours, theirs

    def back(program: str) -> None:
        _output([program, "-p", profiles[program], "--switch-generation", "2"], sides[program])

    pairs = 15
    for name, arguments in (("-q", ["-q"]), ("--list-generations", ["--list-generations"])):
        ours, theirs = both(*arguments)
        bench.compare(f"nix-env {name}", ours=ours, peer=theirs, peer_environ=peer, pairs=pairs, limit=1.0)
    mounted = "nix-env -q, store mounted"  # as users have it: the manifest is a file then, for ours too
    if bench.wants(mounted):
        _output(["verglas", "mount", "--background"], bench.environ)
        ours, theirs = both("-q")
        bench.compare(mounted, ours=ours, peer=theirs, peer_environ=peer, pairs=pairs, limit=1.0)
        _output(["verglas", "umount"], bench.environ)
    ours, theirs = both("--rollback")
    bench.compare(
        "nix-env --rollback",
        ours=ours,
        peer=theirs,
        peer_environ=peer,
        before_ours=lambda: back("nix-env"),
        before_peer=lambda: back(real),
        pairs=pairs,
        limit=1.0,
    )
    back("nix-env")
    back(real)
    _environments(bench, sides, profiles)
    _apply(bench, pairs)
    nixpkgs = os.environ.get("BENCH_NIXPKGS")
    if nixpkgs is not None:
        words = ["-f", nixpkgs, "-qaP", "--arg", "config", "{ }"]
        bench.compare(
            "nix-env -qaP over nixpkgs",
            ours=["nix-env", *words],
            peer=[real, *words],
            peer_environ=peer,
            pairs=3,
            clock="cpu",
            limit=1.0,
        )


def _lay_out(bench: Bench) -> list[Path]:
    """Make packages that share the usual directories, so that all of them are merged."""
    folders = []
    for number in range(PACKAGES):
        folder = bench.scratch / "packages" / f"package{number}-1.{number}"
        for index in range(FILES):
            file = folder / ("bin", "lib", "share/man/man1", "share/doc", "include")[index % 5] / f"p{number}-{index}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{number} {index}\n")
        folders.append(folder)
    return folders


def _environments(bench: Bench, sides: dict[str, dict[str, str]], profiles: dict[str, str]) -> None:
    """A user environment of all packages, new each time: one package has another flag."""
    count = 0

    def build(program: str) -> float:
        nonlocal count
        count += 1
        start = time.perf_counter()
        _output([program, "-p", profiles[program], "--set-flag", "bench", str(count), "package7"], sides[program])
        return time.perf_counter() - start

    ours, real = sides
    bench.compare(
        f"user environment, {PACKAGES} packages, {PACKAGES * FILES} files",
        ours=lambda: build(ours),
        peer=lambda: build(real),
        pairs=5,
        limit=0.5,
    )


def _apply(bench: Bench, runs: int) -> None:
    path = _output(["nix-store", "--add", bench.scratch / "packages/package1-1.1"], bench.environ).strip()
    file = bench.scratch / "profile.yaml"
    file.write_text(f"packages:\n  - {path}\n")
    command = ["verglas", "profile", "apply", "--file", file, "--profile", f"{bench.scratch}/declared"]
    _output(command, bench.environ)
    seconds = []
    for _ in range(2 if bench.quick else runs):
        start = time.perf_counter()
        assert _output(command, bench.environ).startswith("nothing to do")
        seconds.append(time.perf_counter() - start)
    bench.record("verglas profile apply, nothing to do", 1000 * statistics.median(seconds), "ms", limit=150)


def _output(words: list[str | Path], environ: dict[str, str]) -> str:
    program = str(BIN / words[0]) if "/" not in str(words[0]) else str(words[0])
    done = subprocess.run([program, *words[1:]], env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words[:4]))} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout
