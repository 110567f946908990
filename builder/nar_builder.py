"""Builds for a store that keeps whole NARs, as in `nix-build --store file:///cache`: elsewhere, and copied to it.

Such a store has no place in which anything could run. A machine of the setting `builders` gets the derivations, builds
or fetches what is wanted in its own store, and everything that the outputs need is copied back. Machines are asked in
turn; the first one that fits all derivations does it all. Blocking.
"""

from __future__ import annotations

from contextlib import closing

from builder.environment import BuildAttributes
from builder.failures import BuildError
from builder.machines import parse_machines, read_machines
from builder.validity import results_if_valid
from storefs import logs
from storefs.api import BuildMode, BuildResult, Missing
from storefs.config import load_config
from storefs.experimental import CA_DERIVATIONS, has_feature
from storefs.stores.copy_between import copy_all, source_closure
from storefs.stores.derivation_outputs import DerivationOutputs, realisation_closure
from storefs.stores.open import open_store
from storefs.stores.store_source import StoreSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import Protocol

    from builder.cancellation import Cancellation
    from builder.machines import Machine
    from builder.progress import Progress
    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.derived_path import DerivedPath
    from storefs.formats.store_path import StorePath
    from storefs.stores.nar_store import NarStore

    class OtherBuilder(Protocol):
        """The builder of the store in which things are built."""

        def build_now(
            self, targets: Sequence[DerivedPath], mode: BuildMode = ..., cancellation: Cancellation | None = None
        ) -> list[BuildResult]:
            """Realise all targets. Blocks."""

    OpenBuilder = Callable[[Config, Store, Progress], AbstractContextManager[OtherBuilder]]


class NarBuilder:
    """See `storefs.api.Builder`, whose blocking half this is.

    Args:
        config: settings; `builders` names who builds.
        store: what keeps the outputs.
        progress: is told what happens.
        open_builder: opens the builder of another store.
    """

    def __init__(self, config: Config, store: NarStore, progress: Progress, open_builder: OpenBuilder) -> None:
        self._config = config
        self._store = store
        self._progress = progress
        self._open_builder = open_builder

    def build_now(
        self,
        targets: Sequence[DerivedPath],
        mode: BuildMode = BuildMode.NORMAL,
        cancellation: Cancellation | None = None,
    ) -> list[BuildResult]:
        """Make all targets valid in the store.

        Raises:
            BuildError: there is nobody who could.
            StoreError: nothing could be attempted.
        """
        floating = has_feature(self._config, CA_DERIVATIONS)
        valid = None
        if mode is BuildMode.NORMAL:
            valid = results_if_valid(self._store, targets, floating_allowed=floating)
        if valid is not None:
            return valid
        machine = self._machine(targets)
        settings = [*self._config.overrides().items(), ("builders", ""), ("max-jobs", str(machine.jobs))]
        other = load_config(self._config.environment(), settings, machine.uri)
        with closing(open_store(other)) as there:
            copy_all(self._store, there, self._store.valid_paths(target.path for target in targets))
            with self._open_builder(other, there, self._progress) as builder:
                results = builder.build_now(targets, mode, cancellation)
            made = {path for result in results if result.ok for path in result.outputs.values()}
            made |= {result.target.path for result in results if result.ok and not result.target.is_built}
            self._take_over(there, made)
            if floating:
                outputs = DerivationOutputs(there)
                for result in results:
                    if result.ok and result.target.is_built:
                        derivation = there.derivation(result.target.path)
                        found = outputs.realisations(derivation, result.outputs)
                        self._store.register_realisations(realisation_closure(there, found))
        return results

    def _take_over(self, there: Store, paths: set[StorePath]) -> None:
        """Copy paths and what they refer to."""
        for info in source_closure(StoreSource(there, there.uri), paths, recursive=True):
            if not self._store.is_valid(info.path):
                shown, uri = self._store.directory.print(info.path), self._store.uri
                logs.info(f"copying path '{shown}' to '{uri}'...")
                self._store.add_nar(info, there.nar(info.path))

    def missing_now(self, targets: Sequence[DerivedPath]) -> Missing:
        """Say what `build_now` would have to do, as far as the store can tell."""
        floating = has_feature(self._config, CA_DERIVATIONS)
        will_build = {
            target.path
            for target in targets
            if results_if_valid(self._store, [target], floating_allowed=floating) is None
        }
        return Missing(frozenset(will_build), frozenset(), frozenset(), 0, 0)

    def _machine(self, targets: Sequence[DerivedPath]) -> Machine:
        """The first machine that can build all that is wanted."""
        wanted = []
        for target in targets:
            if target.is_built:
                derivation = self._store.derivation(target.path)
                system = "builtin" if derivation.is_builtin else derivation.system
                wanted.append((system, BuildAttributes(derivation).required_features()))
        for machine in parse_machines(self._config.text("builders"), self._config.text("system"), read_machines):
            if all(machine.fits(system, features) for system, features in wanted):
                return machine
        raise BuildError(
            f"nothing can be built in '{self._store.uri}': it needs a machine that builds for it, as in "
            "\"--builders 'auto - - 1 1'\" for the store of this machine"
        )
