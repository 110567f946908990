"""`--repair`: finds outputs whose contents are damaged or gone and makes them again, in place and atomically.

First the targets' own outputs, then every path in the closure of those. What substituters have is fetched, the rest is
built. Blocking. Semantics: `bmRepair` and `repairClosure` of Nix 2.8.
"""

from __future__ import annotations

from builder.failures import BuildError
from builder.scheduler import Run
from storefs import logs
from storefs.api import BuildMode, BuildResult
from storefs.errors import StoreError
from storefs.formats.derived_path import DerivedPath
from storefs.formats.hashes import Hasher
from storefs.stores.closure import closure
from storefs.stores.known_outputs import known_outputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.cancellation import Cancellation
    from builder.goal import Fetcher
    from builder.machine import LocalMachine
    from storefs.formats.store_path import StorePath
    from storefs.stores.local import LocalStore


def repair(
    machine: LocalMachine, fetcher: Fetcher | None, targets: Sequence[DerivedPath], cancellation: Cancellation
) -> list[BuildResult]:
    """Make all targets valid and intact, and their closures with them.

    Raises:
        StoreError: a damaged path can't be made again.
    """
    return _Repair(machine, fetcher, cancellation).run(targets)


def contents_are_good(store: LocalStore, path: StorePath) -> bool:
    """Whether a valid path still has the contents that it was registered with. Reads all of it."""
    info = store.path_info(path)
    hasher = Hasher("sha256")
    try:
        for piece in store.nar(path):
            hasher.update(piece)
    except (StoreError, OSError):
        return False
    return hasher.finish() == info.nar_hash


class _Repair:
    def __init__(self, machine: LocalMachine, fetcher: Fetcher | None, cancellation: Cancellation) -> None:
        self._machine = machine
        self._store = machine.store
        self._fetcher = fetcher
        self._cancellation = cancellation
        self._good: dict[StorePath, bool] = {}

    def run(self, targets: Sequence[DerivedPath]) -> list[BuildResult]:
        results = Run(self._machine, self._fetcher, None, self._cancellation).realise(targets)
        if all(result.ok for result in results):
            results = [self._repair(result) for result in results]
        return results

    def _repair(self, result: BuildResult) -> BuildResult:
        if not result.target.is_built:
            if not self._check(result.target.path):
                self._make_again(result.target.path, self._producers([result.target.path]))
            return result
        rebuilt = self._rebuild(result.target, set(result.outputs.values()))
        if rebuilt is not None and not rebuilt.ok:
            return rebuilt
        self._repair_closure(result)
        return result

    def _rebuild(self, target: DerivedPath, outputs: set[StorePath]) -> BuildResult | None:
        """Build a derivation again if one of its outputs is damaged and can't be fetched; None when all are good."""
        corrupt = frozenset(path for path in outputs if not self._check(path) and not self._fetch(path))
        if not corrupt:
            return None
        run = Run(self._machine, self._fetcher, None, self._cancellation)
        (result,) = run.realise([target], BuildMode.REPAIR, corrupt)
        self._good.update(dict.fromkeys(corrupt, result.ok))
        return result

    def _repair_closure(self, result: BuildResult) -> None:
        shown = self._store.directory.print(result.target.path)
        reached = closure(self._store, result.outputs.values()) - set(result.outputs.values())
        producers: dict[StorePath, StorePath] | None = None
        for path in sorted(reached):
            if self._check(path, quiet=True):
                continue
            damaged = self._store.directory.print(path)
            self._machine.progress.error(
                f"found corrupted or missing path '{damaged}' in the output closure of '{shown}'"
            )
            if producers is None:
                producers = self._producers([result.target.path])
            self._make_again(path, producers)

    def _producers(self, roots: list[StorePath]) -> dict[StorePath, StorePath]:
        """Which derivation makes which path, among all that some paths need."""
        found = {}
        for path in closure(self._store, roots):
            if path.is_derivation:
                for output in known_outputs(self._store, self._store.derivation(path)).values():
                    found[output] = path
        return found

    def _fetch(self, path: StorePath) -> bool:
        """Fetch the contents of a damaged path again; whether that worked."""
        if self._fetcher is None:
            return False
        try:
            self._fetcher.mend(path)
        except StoreError as error:
            logs.debug(str(error))
            return False
        self._good[path] = True
        return True

    def _make_again(self, path: StorePath, producers: dict[StorePath, StorePath]) -> None:
        if self._fetch(path):
            return
        shown = self._store.directory.print(path)
        producer = producers.get(path) or self._store.path_info(path).deriver
        if producer is None or not self._store.is_valid(producer):
            raise BuildError(f"don't know how to repair corrupted or missing path '{shown}'")
        outputs = set(known_outputs(self._store, self._store.derivation(producer)).values())
        result = self._rebuild(DerivedPath(producer, ()), outputs & self._store.valid_paths(outputs))
        if result is not None and not result.ok:
            raise BuildError(f"cannot repair path '{shown}': {result.message}", result.status, result.exit_code)

    def _check(self, path: StorePath, *, quiet: bool = False) -> bool:
        good = self._good.get(path)
        if good is None:
            shown = self._store.directory.print(path)
            logs.log(logs.DEBUG if quiet else logs.INFO, f"checking path '{shown}'...")
            good = self._good[path] = contents_are_good(self._store, path)
            if not good and not quiet:
                logs.error(f"path '{shown}' is corrupted or missing!")
        return good
