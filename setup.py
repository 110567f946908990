"""The parts of the build that pyproject.toml cannot say: the compiled core of the evaluator and the command scripts.

Commands are plain scripts rather than entry points because the wrapper that installers write for an entry point imports
`re` (4 ms of a start-up that takes 20), and because all of them are one program told apart by its name.
"""

from __future__ import annotations

import os
from pathlib import Path

from setuptools import Extension, setup

COMMANDS = (
    "verglas",
    "nix",
    "nix-build",
    "nix-channel",
    "nix-collect-garbage",
    "nix-copy-closure",
    "nix-daemon",
    "nix-env",
    "nix-hash",
    "nix-instantiate",
    "nix-prefetch-url",
    "nix-shell",
    "nix-store",
)

LAUNCHER = """\
#!python
from storefs.cli import main

main()
"""


def launchers() -> list[str]:
    """Write one launcher script per command below build/ and return their paths, relative to this file."""
    folder = Path("build/launchers")
    folder.mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        (folder / name).write_text(LAUNCHER)
    return [str(folder / name) for name in COMMANDS]


def compiled_core() -> list[Extension]:
    """Return the evaluator's core as C extensions: Python files in Cython's pure mode, which also run uncompiled."""
    sources = sorted(str(path) for path in Path("evaluator/core").glob("*.py") if path.name != "__init__.py")
    if not sources:
        return []
    from Cython.Build import cythonize  # noqa: PLC0415  only the build environment has it

    extensions = [
        Extension(source.removesuffix(".py").replace("/", "."), [source], extra_compile_args=["-O2", "-g0"])
        for source in sources
    ]
    # The code keeps its indices in range itself; an attribute of None is a bug that the tests on uncompiled code find.
    # Nobody pickles nodes or inspects builtins: without what that needs, modules are smaller, loaded and called faster.
    directives = {
        "boundscheck": False,
        "wraparound": False,
        "initializedcheck": False,
        "nonecheck": False,
        "infer_types": False,
        "auto_pickle": False,
        "binding": False,
    }
    return list(cythonize(extensions, language_level=3, quiet=True, compiler_directives=directives))


# The C compiler takes most of the time, and the extensions do not wait for each other.
PARALLEL = {"build_ext": {"parallel": len(os.sched_getaffinity(0))}}

setup(scripts=launchers(), ext_modules=compiled_core(), options=PARALLEL)
