"""What the daemon can do because there is a Builder: build, substitute, keep logs. One instance serves one client.

Completes `storefs.daemon.store_service`; `commands/nix_daemon.py` makes one per connection, in that client's process.
"""

from __future__ import annotations

from contextlib import contextmanager

from builder.build_log import save_build_log
from builder.cancellation import until_hangup
from builder.local_builder import LocalBuilder
from builder.open import open_builder_now
from builder.progress import BUILD_LOG_LINE, POST_BUILD_HOOK, POST_BUILD_LOG_LINE, Activity, Progress
from storefs import logs
from storefs.api import BuildMode
from storefs.daemon.store_service import StoreService
from storefs.errors import StoreError, UsageError
from storefs.formats.derived_path import DerivedPath
from storefs.stores.verify import verify_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from storefs.api import BuildResult, Missing, Offer
    from storefs.daemon.tunnel import Tunnel
    from storefs.formats.byte_reader import Buffer
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StorePath


class TunnelProgress(Progress):
    """Tells a client what would otherwise be shown here."""

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__()
        self._tunnel = tunnel

    def start(self, kind: int, name: str, text: str, fields: Sequence[object] = (), level: int = logs.INFO) -> Activity:
        """See `Progress`."""
        activity = Activity(kind, name, text)
        told = [field if isinstance(field, int) else str(field) for field in fields]
        self._tunnel.start_activity(activity.number, level, kind, text, told)
        return activity

    def line(self, activity: Activity, text: str) -> None:
        """See `Progress`."""
        kind = POST_BUILD_LOG_LINE if activity.kind == POST_BUILD_HOOK else BUILD_LOG_LINE
        self._tunnel.result(activity.number, kind, [text])

    def stop(self, activity: Activity, *, ok: bool = True) -> None:
        """See `Progress`."""
        del ok
        self._tunnel.stop_activity(activity.number)

    def waiting(self, text: str) -> None:
        """See `Progress`."""
        self._tunnel.line(logs.WARNING, text)


class BuildingService(StoreService):
    """See `storefs.daemon.service.Service`."""

    def build(
        self, targets: Sequence[DerivedPath], mode: BuildMode, tunnel: Tunnel, *, hangup_fd: int
    ) -> list[BuildResult]:
        """See `Service`."""
        with self._builder(tunnel) as builder, until_hangup(hangup_fd) as cancellation:
            return builder.build_now(targets, mode, cancellation)

    def build_derivation(
        self, path: StorePath, derivation: Derivation, mode: BuildMode, tunnel: Tunnel, *, hangup_fd: int
    ) -> BuildResult:
        """See `Service`."""
        with self._builder(tunnel) as builder, until_hangup(hangup_fd) as cancellation:
            return builder.build_derivation_now(path, derivation, mode, cancellation)

    def missing(self, targets: Sequence[DerivedPath]) -> Missing:
        """See `Service`."""
        with self._builder(None) as builder:
            return builder.missing_now(targets)

    def offers(self, paths: Iterable[StorePath]) -> Mapping[StorePath, Offer]:
        """See `Service`."""
        with self._builder(None) as builder:
            return builder.offers(list(paths))

    def substitute(self, paths: Iterable[StorePath], tunnel: Tunnel, *, hangup_fd: int) -> None:
        """See `Service`. What nobody has stays as it is; the caller looks which are valid afterwards."""
        paths = list(paths)
        wanted = set(paths) - self.store.valid_paths(paths)
        if not wanted:
            return
        with self._builder(tunnel) as builder, until_hangup(hangup_fd) as cancellation:
            offered = builder.offers(wanted)
            builder.build_now([DerivedPath(path) for path in sorted(offered)], BuildMode.NORMAL, cancellation)

    def add_build_log(self, derivation: StorePath, chunks: Iterable[Buffer]) -> None:
        """See `Service`."""
        save_build_log(self.config, derivation, (bytes(chunk) for chunk in chunks))

    def verify(self, *, check_contents: bool, repair: bool) -> bool:
        """See `Service`."""
        with self._builder(None) as builder:

            def mend(path: StorePath) -> None:
                (result,) = builder.build_now([DerivedPath(path)], BuildMode.REPAIR)
                if not result.ok:
                    raise StoreError(result.message)

            found = verify_store(self.store, check_contents=check_contents, repair=mend if repair else None)
        return bool(found.unfixed)

    @contextmanager
    def _builder(self, tunnel: Tunnel | None) -> Iterator[LocalBuilder]:
        progress = Progress() if tunnel is None else TunnelProgress(tunnel)
        with open_builder_now(self.config, self.store, progress) as builder:
            if not isinstance(builder, LocalBuilder):
                raise UsageError("a daemon needs a store of its own")
            yield builder
