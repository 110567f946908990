"""Reads the sources as text and syntax trees, for the structure tests. Imports none of them."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGES = ("storefs", "builder", "evaluator", "profiles")


class Source(NamedTuple):
    """One of our Python files."""

    path: Path
    name: str  # as in 'storefs.fuse.view'
    text: str
    tree: ast.Module
    nodes: tuple[ast.AST, ...]  # all of the tree: walking it takes longer than what tests look for


@functools.cache
def sources() -> tuple[Source, ...]:
    """Return every Python file of the four packages, sorted."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            text = path.read_text()
            tree = ast.parse(text)
            found.append(Source(path, name, text, tree, tuple(ast.walk(tree))))
    return tuple(found)


@functools.cache
def compiled_modules() -> tuple[str, ...]:
    """Return the files outside of evaluator/core that setup.py compiles, relative to the root."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "MODULES":
            return tuple(ast.literal_eval(node.value))
    raise LookupError("setup.py has no MODULES")


def is_compiled(source: Source) -> bool:
    """Whether Cython compiles the file."""
    return source.name.startswith("evaluator.core.") or str(source.path.relative_to(ROOT)) in compiled_modules()


@functools.cache
def imported(source: Source) -> set[str]:
    """Return the top-level names of all that a file imports, wherever in it."""
    names = set()
    for node in source.nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def third_party(source: Source) -> set[str]:
    """Return the packages a file imports that are neither ours nor the standard library's."""
    return imported(source) - set(PACKAGES) - sys.stdlib_module_names
