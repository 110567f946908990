"""Modules that are compiled, once more as the plain Python that they also are: tests run over both."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

VARIANTS = ("as installed", "as Python")
_ROOT = Path(__file__).parents[1]


def variant(name: str, which: str) -> ModuleType:
    """The module ``name`` as it is installed, or a second one from its source, which knows nothing of the first."""
    if which == VARIANTS[0]:
        return importlib.import_module(name)
    file = str(_ROOT / f"{name.replace('.', '/')}.py")
    loader = importlib.machinery.SourceFileLoader(f"{name}_as_python", file)
    spec = importlib.util.spec_from_file_location(loader.name, file, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
