"""Run a command with everything as plain Python, although compiled modules lie beside some of it.

python tests/lang/uncompiled.py nix-instantiate --eval -E '1 + 1'
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"storefs", "builder", "evaluator", "profiles"}


class SourceOnly:
    """Finds modules of ours as source files only."""

    def find_spec(self, name, path=None, target=None):
        file = ROOT / f"{name.replace('.', '/')}.py"
        if name.partition(".")[0] not in PACKAGES or not file.exists():
            return None
        loader = importlib.machinery.SourceFileLoader(name, str(file))
        return importlib.util.spec_from_file_location(name, file, loader=loader)


def install() -> None:
    """Make this process import from source. To be called before anything compiled is imported."""
    sys.meta_path.insert(0, SourceOnly())
    sys.setrecursionlimit(100_000)


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    install()
    sys.argv = sys.argv[1:]
    from storefs.cli import main

    main()
