"""Start-up: how long a command takes that has nothing to do, beside real Nix and bare Python."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench.harness import need

if TYPE_CHECKING:
    from bench.harness import Bench


def run(bench: Bench) -> None:
    nix_store = need("nix-store", "nix-bin")
    bench.compare(
        "nix-store --version", ours=["nix-store", "--version"], peer=[nix_store, "--version"], pairs=15, limit=1.5
    )
    bench.compare(
        "bare Python beside nix-store",
        ours=[sys.executable, "-I", "-S", "-c", "pass"],
        peer=[nix_store, "--version"],
        pairs=15,
    )
