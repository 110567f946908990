"""Run a command with the evaluator's core as plain Python, although its compiled modules lie beside it.

python tests/lang/uncompiled.py nix-instantiate --eval -E '1 + 1'
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "evaluator" / "core"


class SourceOnly:
    """Finds modules of evaluator.core as source files only."""

    def find_spec(self, name, path=None, target=None):
        package, _, module = name.rpartition(".")
        if package != "evaluator.core":
            return None
        file = CORE / f"{module}.py"
        loader = importlib.machinery.SourceFileLoader(name, str(file))
        return importlib.util.spec_from_file_location(name, file, loader=loader)


def install() -> None:
    """Make this process import the core from source. To be called before the evaluator is imported."""
    sys.meta_path.insert(0, SourceOnly())
    sys.setrecursionlimit(100_000)


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    install()
    sys.argv = sys.argv[1:]
    from storefs.cli import main

    main()
