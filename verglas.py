"""What the command scripts run: `start`, which has our packages imported in fewer steps, and then `storefs.cli`.

A command imports 40 to 100 modules of ours, and for half of them finding the file and what it was compiled to takes
longer than running it: Python's importer looks into every folder of `sys.path`, lists folders, tries every suffix and
asks for the same file several times. Here a name says where the file is, and what is in `__pycache__` is used where it
is of this source (PEP 552: by time and size). Everything else is Python's own: it compiles what has changed, and
modules, specs and tracebacks are as ever.

A module of its own beside the four packages, because it is the one that Python's importer has to find. It needs nothing
that Python has not loaded when it starts. Who uses the packages as a library needs none of it.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys
from _frozen_importlib import ModuleSpec  # what `importlib` is made of; that takes a millisecond to import
from _frozen_importlib_external import MAGIC_NUMBER, ExtensionFileLoader, SourceFileLoader
from _imp import extension_suffixes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from types import CodeType, ModuleType
    from typing import NoReturn

_PACKAGES = frozenset({"profiles", "evaluator", "builder", "storefs"})
_EXTENSION = extension_suffixes()[0]
_CACHED = f".{sys.implementation.cache_tag}.pyc"
_CORE = "evaluator.core."
_TOGETHER = f"evaluator/core/together{_EXTENSION}"  # all of them: each library that is loaded takes 0.1 ms
_COLLECT_AFTER = 50_000  # objects; Python's own 700 are reached by importing
_HEAD = MAGIC_NUMBER + bytes(4)  # without flags: what follows is time and size of the source, not its hash


def start() -> NoReturn:
    """Run the program named by argv[0] and end the process with its exit status."""
    # What is imported stays, and looking for cycles in it again and again takes a thirtieth of a small command's time.
    gc.set_threshold(_COLLECT_AFTER)
    if not sys.flags.optimize and sys.pycache_prefix is None:  # either gives what is compiled another name
        sys.meta_path.insert(0, Finder(os.path.dirname(__file__)))
    from storefs.cli import main  # noqa: PLC0415  the first that is found by it

    main()


class Finder:
    """An entry of `sys.meta_path`, which finds modules of our packages below `root`."""

    __slots__ = ("_root",)

    def __init__(self, root: str) -> None:
        self._root = root

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what Python's importer would; None leaves it to that."""
        if name.partition(".")[0] not in _PACKAGES:
            return None
        base = f"{self._root}/{name.replace('.', '/')}"
        if name.startswith(_CORE) and _exists(file := f"{self._root}/{_TOGETHER}"):
            return _spec(name, ExtensionFileLoader(name, file), file)
        if _exists(file := base + _EXTENSION):
            return _spec(name, ExtensionFileLoader(name, file), file)
        if _exists(file := base + ".py"):
            folder, _, stem = base.rpartition("/")
            cached = f"{folder}/__pycache__/{stem}{_CACHED}"
            return _spec(name, _SourceLoader(name, file, cached), file, cached)
        if _exists(file := base + "/__init__.py"):
            cached = f"{base}/__pycache__/__init__{_CACHED}"
            spec = _spec(name, _PackageLoader(name, file), file, cached)
            spec.submodule_search_locations = [base]
            return spec
        return None


def _exists(file: str) -> bool:
    return os.access(file, os.F_OK)  # an answer, where stat would raise


def _spec(name: str, loader: Loader, file: str, cached: str | None = None) -> ModuleSpec:
    spec = ModuleSpec(name, loader, origin=file)
    spec.has_location = True
    spec.cached = cached  # else it is worked out from `file`
    return spec


class _PackageLoader(SourceFileLoader):
    """Runs nothing: a package of ours is a docstring (tests/architecture), which no command shows."""

    def exec_module(self, module: ModuleType) -> None:
        pass


class _SourceLoader(SourceFileLoader):
    """Python's loader, which is asked only where the usual compiled file is not there or not of this source."""

    def __init__(self, fullname: str, path: str, cached: str) -> None:
        super().__init__(fullname, path)
        self._cached = cached

    def get_code(self, fullname: str) -> CodeType | None:
        try:
            source = os.stat(self.path)
            descriptor = os.open(self._cached, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.read(descriptor, os.fstat(descriptor).st_size)
            finally:
                os.close(descriptor)
        except OSError:
            return super().get_code(fullname)
        stamp = ((source.st_size & 0xFFFFFFFF) << 32 | int(source.st_mtime) & 0xFFFFFFFF).to_bytes(8, "little")
        if data[:16] == _HEAD + stamp:
            code: CodeType = marshal.loads(memoryview(data)[16:])
            if code.co_filename == self.path:  # else it was moved here
                return code
        return super().get_code(fullname)
