"""Start-up: commands that have next to nothing to do, beside real Nix and bare Python."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from bench.harness import need

if TYPE_CHECKING:
    from bench.harness import Bench


def run(bench: Bench) -> None:
    real = need("nix-store", "nix-bin")
    pairs = 15
    bench.compare(
        "nix-store --version", ours=["nix-store", "--version"], peer=[real, "--version"], pairs=pairs, limit=1.0
    )

    theirs = {
        "NIX_STORE_DIR": f"{bench.scratch}/real/store",
        "NIX_STATE_DIR": f"{bench.scratch}/real/state",
        "NIX_LOG_DIR": f"{bench.scratch}/real/log",
    }
    file = bench.scratch / "file"
    file.write_text("content")
    paths = {}
    for program, environ in (("nix-store", bench.environ), (real, {**bench.environ, **theirs})):
        paths[program] = subprocess.run(
            [program, "--add", file], env=environ, capture_output=True, text=True, check=True
        ).stdout.strip()
    bench.compare(
        "nix-store -q --hash PATH",
        ours=["nix-store", "-q", "--hash", paths["nix-store"]],
        peer=[real, "-q", "--hash", paths[real]],
        peer_environ=theirs,
        pairs=pairs,
        limit=1.0,
    )
    bench.compare(
        "nix-instantiate --eval -E 1",
        ours=["nix-instantiate", "--eval", "-E", "1"],
        peer=[need("nix-instantiate", "nix-bin"), "--eval", "-E", "1"],
        peer_environ=theirs,
        pairs=pairs,
    )
    bench.compare(
        "bare Python beside nix-store --version",
        ours=[sys.executable, "-I", "-S", "-c", "pass"],
        peer=[real, "--version"],
        pairs=pairs,
    )
