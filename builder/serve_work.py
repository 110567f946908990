"""What a client of the serve protocol has done, by a store of our own or by the daemon whose clients we are ourselves.

For `serve_session`, which speaks the protocol. Blocking; in one thread.
"""

from __future__ import annotations

from contextlib import closing, contextmanager

from builder.cancellation import until_hangup
from builder.local_builder import LocalBuilder
from builder.open import open_builder_now
from builder.progress import Activity, Progress
from storefs import logs
from storefs.api import BuildMode, BuildResult, BuildStatus
from storefs.formats.derived_path import DerivedPath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from typing import Protocol

    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.derivation import Derivation
    from storefs.formats.nar import NarStream
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StorePath
    from storefs.stores.local import LocalStore
    from storefs.stores.remote import RemoteStore
else:
    Protocol = object


class ServedStore(Protocol):
    """A store, and who works for it; ``config`` has the settings that the client has sent."""

    @property
    def store(self) -> Store:
        """What is asked."""

    def path_infos(self, paths: Iterable[StorePath]) -> dict[StorePath, PathInfo]:
        """What is registered about those that are valid."""

    def take_nar(self, info: PathInfo, nar: NarStream) -> None:
        """Make a path valid."""

    def fetch(self, config: Config, paths: Collection[StorePath]) -> None:
        """Make those valid that substituters have."""

    def build(self, config: Config, targets: Sequence[DerivedPath]) -> Sequence[BuildResult]:
        """Realise targets."""

    def build_derivation(self, config: Config, path: StorePath, derivation: Derivation) -> BuildResult:
        """Build a derivation that need not be there, but for its inputs."""


class _Silent(Progress):
    """Shows what builders print and nothing of our own, as row H7 wants it."""

    def start(self, kind: int, name: str, text: str, fields: Sequence[object] = (), level: int = logs.INFO) -> Activity:
        """See `Progress`."""
        del fields, level
        return Activity(kind, name, text)


class OwnStore:
    """See `ServedStore`. ``hangup_fd`` tells when the client goes away, which ends its builds."""

    def __init__(self, store: LocalStore, hangup_fd: int) -> None:
        self.store = store
        self._hangup_fd = hangup_fd

    def path_infos(self, paths: Iterable[StorePath]) -> dict[StorePath, PathInfo]:  # noqa: D102
        return self.store.path_infos(paths)

    def take_nar(self, info: PathInfo, nar: NarStream) -> None:  # noqa: D102
        with self.store.intake() as intake:
            intake.register([(intake.add_nar(nar), info)])

    def fetch(self, config: Config, paths: Collection[StorePath]) -> None:  # noqa: D102
        with self._builder(config) as builder, until_hangup(self._hangup_fd) as cancellation:
            offered = [DerivedPath(path) for path in sorted(builder.offers(paths))]
            builder.build_now(offered, BuildMode.NORMAL, cancellation)

    def build(self, config: Config, targets: Sequence[DerivedPath]) -> Sequence[BuildResult]:  # noqa: D102
        with self._builder(config) as builder, until_hangup(self._hangup_fd) as cancellation:
            return builder.build_now(targets, BuildMode.NORMAL, cancellation)

    def build_derivation(self, config: Config, path: StorePath, derivation: Derivation) -> BuildResult:  # noqa: D102
        with self._builder(config) as builder, until_hangup(self._hangup_fd) as cancellation:
            return builder.build_derivation_now(path, derivation, BuildMode.NORMAL, cancellation)

    @contextmanager
    def _builder(self, config: Config) -> Iterator[LocalBuilder]:
        with open_builder_now(config, self.store, _Silent()) as builder:
            assert isinstance(builder, LocalBuilder)
            yield builder


class DaemonsStore:
    """See `ServedStore`. The daemon ends a build when this process ends, which notices that when it answers, as Nix's.

    Args:
        store: asks the daemon.
        connected: opens another store that asks it and tells it settings for what it is going to do.
    """

    def __init__(self, store: RemoteStore, connected: Callable[[Config], RemoteStore]) -> None:
        self.store = store
        self._connected = connected

    def path_infos(self, paths: Iterable[StorePath]) -> dict[StorePath, PathInfo]:  # noqa: D102
        found = {path: self.store.find_path_info(path) for path in paths}
        return {path: info for path, info in found.items() if info is not None}

    def take_nar(self, info: PathInfo, nar: NarStream) -> None:  # noqa: D102
        # Whoever may write here is who the daemon takes us for; it decides whose signatures count.
        self.store.add_nar(info, nar, check=False)

    def fetch(self, config: Config, paths: Collection[StorePath]) -> None:  # noqa: D102
        del config
        self.store.valid_paths(paths, substitute=True)

    def build(self, config: Config, targets: Sequence[DerivedPath]) -> Sequence[BuildResult]:  # noqa: D102
        with closing(self._connected(config)) as store, open_builder_now(config, store, _Silent()) as builder:
            return builder.build_now(targets, BuildMode.NORMAL)

    def build_derivation(self, config: Config, path: StorePath, derivation: Derivation) -> BuildResult:  # noqa: D102
        with closing(self._connected(config)) as store, open_builder_now(config, store, _Silent()):
            wire = store.build_derivation(path, derivation)
        times = (wire.start_time, wire.stop_time)
        return BuildResult(DerivedPath(path, ()), BuildStatus(wire.status), wire.outputs, wire.message, 0, *times)
