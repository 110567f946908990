"""The parts of the build that pyproject.toml cannot say: what is compiled, and the command scripts.

Commands are plain scripts rather than entry points because the wrapper that installers write for an entry point imports
`re` (4 ms of a start-up that takes 20), and because all of them are one program told apart by its name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from filecmp import cmp
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError
from setuptools.modified import newer_group

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

#: What is compiled besides all of evaluator/core: single modules that every request or every file passes through.
#: `dev` and the structure tests read this list.
MODULES = (
    "storefs/castore/contents.py",
    "storefs/castore/file_runs.py",
    "storefs/castore/host_tree.py",
    "storefs/castore/ingest.py",
    "storefs/castore/many_blobs.py",
    "storefs/castore/nar_hash.py",
    "storefs/castore/trees.py",
    "storefs/castore/whole_files.py",
    "storefs/formats/hash_part_search.py",
    "storefs/formats/nar.py",
    "storefs/fuse/at_once.py",
    "storefs/fuse/forest.py",
    "storefs/fuse/kernel.py",
    "storefs/fuse/kernel_device.py",
    "storefs/fuse/kernel_wire.py",
    "storefs/fuse/operations.py",
    "storefs/fuse/synchronous.py",
    "storefs/fuse/view.py",
    "storefs/metadata/entry_search.py",
    "storefs/metadata/nar_reader.py",
    "storefs/metadata/page_scan.py",
    "storefs/metadata/tree_writer.py",
    "storefs/metadata/trees.py",
    "storefs/stores/blob_sizes.py",
    "storefs/stores/presence.py",
)  # fmt: skip

FLAGS = ("-O2", "-g0")
#: No function of the core has a buffer on its stack; most have addresses there, and would be given a canary for them.
CORE_FLAGS = (*FLAGS, "-fno-stack-protector")

LAUNCHER = """\
#!python
import _signal
import sys

# ^C before `main` has begun ends the process as it ends one that is not in Python: without a traceback.
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

# The commands' own folder, where there is nothing to import and Python would look first.
if not sys.flags.safe_path:
    del sys.path[0]

from verglas import start

start()
"""


def launchers() -> list[str]:
    """Write one launcher script per command below build/ and return their paths, relative to this file."""
    folder = Path("build/launchers")
    folder.mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        (folder / name).write_text(LAUNCHER)
    return [str(folder / name) for name in COMMANDS]


def compiled() -> list[Extension]:
    """Return what is compiled as C extensions: Python files in Cython's pure mode, which also run uncompiled."""
    core = sorted(str(path) for path in Path("evaluator/core").glob("*.py") if path.name != "__init__.py")
    sources = dict.fromkeys(core, CORE_FLAGS) | {source: FLAGS for source in MODULES if Path(source).exists()}
    return [
        Extension(source.removesuffix(".py").replace("/", "."), [source], extra_compile_args=list(flags))
        for source, flags in sources.items()
    ]


def translate(extensions: list[Extension]) -> None:
    """Put C in the place of the Python that extensions are made from."""
    from Cython.Build import cythonize  # noqa: PLC0415  only the build environment has it

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
    made = cythonize(extensions, language_level=3, quiet=True, compiler_directives=directives)
    by_name = {extension.name: extension for extension in made}
    for extension in extensions:
        extension.sources, extension.depends = by_name[extension.name].sources, by_name[extension.name].depends


class BuildCompiled(build_ext):
    """Compiles the evaluator's core with a profile: it knows what is hot, worth 5 to 10% of CPU time.

    Whatever has to be compiled is compiled twice: with counters, which running training/training.py fills, and then
    with what they say. Where this cannot be done (another compiler than GCC, no training/) there is no profile.
    """

    TRAINING = Path("training/training.py")
    #: The two steps that cost most and come after the counters are placed are left out.
    COUNT = ("-fprofile-generate", "-fno-gcse", "-fno-tree-pre")
    CORE = "evaluator.core."
    TOGETHER = CORE + "together"
    #: What a package set waits for; the others are not worth the time.
    HOT = (
        "attrsets",
        "calls",
        "derivations",
        "lexer",
        "lists",
        "nodes",
        "parser",
        "scope",
        "show",
        "strings",
        "text_buffer",
        "values",
    )
    #: Code that the training did not reach is compiled as ever.
    USE = ("-fprofile-use", "-fprofile-partial-training", "-Wno-missing-profile")

    def finalize_options(self) -> None:
        """Leave out what lies beside its source and is younger: `dev` keeps these times right."""
        super().finalize_options()
        if self.inplace and not self.force:
            from Cython.Build.Dependencies import create_dependency_tree  # noqa: PLC0415  as in `translate`

            sources = create_dependency_tree().all_dependencies
            self.extensions = [
                extension
                for extension in self.extensions
                if newer_group(sources(extension.sources[0]), self._beside(extension), "newer")
            ]

    def _beside(self, extension: Extension) -> str:
        return self.get_ext_filename(extension.name)

    def run(self) -> None:
        """Translate to C, then compile."""
        core_changes = any(extension.name.startswith(self.CORE) for extension in self.extensions)
        if core_changes:
            Path(self._together()).unlink(missing_ok=True)  # what it was made from is no longer there from now on
        if self.extensions:
            translate(self.extensions)
        super().run()
        if core_changes:
            self._put_together()

    def _together(self) -> str:
        return self.get_ext_filename(self.TOGETHER) if self.inplace else self.get_ext_fullpath(self.TOGETHER)

    def _put_together(self) -> None:
        """Link all of the core once more, as one library: see verglas.py, which loads it instead of the others."""
        objects = []
        for extension in self.distribution.ext_modules:
            if extension.name.startswith(self.CORE):
                compiled = f"{self.build_temp}/{extension.name.replace('.', '/')}.o"
                beside = self._beside(extension)
                linked = f"{self.build_lib}/{beside}"
                # Of a library that was made in another folder nobody has what it was made from.
                if newer_group([compiled], linked, "newer") or (
                    self.inplace and not cmp(linked, beside, shallow=False)
                ):
                    return
                objects.append(compiled)
        self.compiler.link_shared_object(objects, self._together())

    def build_extensions(self) -> None:
        """Compile what has changed."""
        extensions = self.extensions
        self.extensions = [extension for extension in extensions if not self._is_hot(extension)]
        super().build_extensions()
        self.extensions = [extension for extension in extensions if self._is_hot(extension)]
        changed = [extension for extension in self.extensions if self.force or self._is_old(extension)]
        if changed and self.TRAINING.exists() and self.compiler.compiler_type == "unix":
            try:
                self._train(changed)
            except (CCompilerError, OSError, subprocess.SubprocessError) as error:
                self.announce(f"compiling without a profile: {error}", 3)
        super().build_extensions()
        self.extensions = extensions

    def _is_hot(self, extension: Extension) -> bool:
        return extension.name.startswith(self.CORE) and extension.name.removeprefix(self.CORE) in self.HOT

    def _is_old(self, extension: Extension) -> bool:
        return newer_group([*extension.sources, *extension.depends], self.get_ext_fullpath(extension.name), "newer")

    def _train(self, changed: list[Extension]) -> None:
        libraries = Path(self.build_temp, "counting").resolve()
        libraries.mkdir(parents=True, exist_ok=True)
        scratch = Path(self.build_temp, "training").resolve()
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        # The compiler looks for the counts of an object beside it, so both have to be compiled in the same place.
        counts = [Path(self.build_temp, extension.sources[0]).with_suffix(".gcda") for extension in changed]
        for file in counts:
            file.unlink(missing_ok=True)
        with ThreadPoolExecutor(int(self.parallel or 1)) as pool:
            trained = dict(pool.map(lambda extension: self._with_counters(extension, libraries), changed))
        core = [extension for extension in self.distribution.ext_modules if extension.name.startswith(self.CORE)]
        made = {extension.name: self.get_ext_fullpath(extension.name) for extension in core}
        modules = {
            extension.name: path if os.path.exists(path := made[extension.name]) else self._beside(extension)
            for extension in core
        } | trained
        subprocess.run(
            [sys.executable, self.TRAINING, scratch, *(f"{name}={path}" for name, path in modules.items())],
            stdout=subprocess.DEVNULL,
            timeout=300,
            check=True,
        )
        for extension, file in zip(changed, counts, strict=True):
            if file.exists():
                extension.extra_compile_args = [*extension.extra_compile_args, *self.USE]

    def _with_counters(self, extension: Extension, folder: Path) -> tuple[str, str]:
        """Compile one module for training; return its name and the file."""
        library = f"{folder}/{extension.name}.so"
        if newer_group(extension.sources, library, "newer"):  # or else this was interrupted, and goes on
            flags = [*extension.extra_compile_args, *self.COUNT]
            objects = self.compiler.compile(extension.sources, output_dir=self.build_temp, extra_postargs=flags)
            self.compiler.link_shared_object(objects, library, extra_postargs=list(self.COUNT))
        return extension.name, library


# The C compiler takes most of the time, and the extensions do not wait for each other.
PARALLEL = {"build_ext": {"parallel": len(os.sched_getaffinity(0))}}

setup(
    scripts=launchers(),
    py_modules=["verglas"],
    ext_modules=compiled(),
    options=PARALLEL,
    cmdclass={"build_ext": BuildCompiled},
)
