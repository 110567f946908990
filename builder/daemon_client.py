"""Building by asking a daemon: the same questions as `local_builder` answers, over the worker protocol.

What the daemon tells while it works is shown as if it happened here. Made by `builder.open`.
"""

from __future__ import annotations

import time

from builder.progress import BUILD_LOG_LINE, POST_BUILD_LOG_LINE
from storefs.api import BuildMode, BuildResult, BuildStatus, CpuTime
from storefs.protocol.worker_values import RemoteError
from storefs.stores.remote_connection import ShownLines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.cancellation import Cancellation
    from builder.progress import Activity, Progress
    from storefs.api import Missing
    from storefs.formats.derived_path import DerivedPath
    from storefs.formats.store_path import StorePath
    from storefs.stores.remote import RemoteStore

_FIRST_WITH_RESULTS = 34
_DONE = {
    BuildStatus.BUILT,
    BuildStatus.SUBSTITUTED,
    BuildStatus.ALREADY_VALID,
    BuildStatus.RESOLVES_TO_ALREADY_VALID,
}
_EXIT_CODES = {BuildStatus.TIMED_OUT: 101, BuildStatus.NOT_DETERMINISTIC: 104}


class ShownEvents(ShownLines):
    """Passes on what a daemon tells to the progress display of this process."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._activities: dict[int, Activity] = {}

    def start(  # noqa: D102
        self, activity: int, level: int, kind: int, text: str, fields: list[int | str], parent: int
    ) -> None:
        if text or kind:
            self._activities[activity] = self._progress.start(kind, "", text, fields, level)

    def stop(self, activity: int) -> None:
        """See `Events`."""
        known = self._activities.pop(activity, None)
        if known is not None:
            self._progress.stop(known)

    def result(self, activity: int, kind: int, fields: list[int | str]) -> None:
        """See `Events`."""
        known = self._activities.get(activity)
        if known is not None and kind in {BUILD_LOG_LINE, POST_BUILD_LOG_LINE} and fields:
            self._progress.line(known, str(fields[0]))


class DaemonBuilder:
    """See `storefs.api.Builder`; `build_now` and `missing_now` block in the calling thread."""

    def __init__(self, store: RemoteStore, progress: Progress) -> None:
        self._store = store
        store.events = ShownEvents(progress)

    def build_now(
        self,
        targets: Sequence[DerivedPath],
        mode: BuildMode = BuildMode.NORMAL,
        cancellation: Cancellation | None = None,
    ) -> list[BuildResult]:
        """Realise all targets; see `storefs.api.Builder.build`. The daemon ends its builds when this process ends."""
        del cancellation
        if self._store.protocol_version >= _FIRST_WITH_RESULTS:
            results = []
            for target, wire in zip(targets, self._store.build_paths_with_results(targets, mode.value), strict=True):
                status = BuildStatus(wire.status)
                ok = status in _DONE
                code = 0 if ok else _EXIT_CODES.get(status, 100)
                used = None
                if wire.cpu_user is not None and wire.cpu_system is not None:
                    used = CpuTime(wire.cpu_user, wire.cpu_system)
                times = (wire.start_time, wire.stop_time, used)
                results.append(BuildResult(target, status, wire.outputs, wire.message, code, *times))
            return results
        begun = int(time.time())
        try:
            self._store.build_paths(targets, mode.value)
        except RemoteError as error:
            message, code = str(error), error.exit_code
            return [
                BuildResult(target, BuildStatus.MISC_FAILURE, {}, message, code, begun, int(time.time()))
                for target in targets
            ]
        return [BuildResult(target, BuildStatus.BUILT, self._outputs(target)) for target in targets]

    def missing_now(self, targets: Sequence[DerivedPath]) -> Missing:
        """Say what `build_now` would have to do; see `storefs.api.Builder.missing`."""
        return self._store.missing(targets)

    async def build(self, targets: Sequence[DerivedPath], mode: BuildMode = BuildMode.NORMAL) -> list[BuildResult]:
        """See `storefs.api.Builder`."""
        import trio  # noqa: PLC0415  only those who have it already come here

        return await trio.to_thread.run_sync(self.build_now, targets, mode)

    async def missing(self, targets: Sequence[DerivedPath]) -> Missing:
        """See `storefs.api.Builder`."""
        import trio  # noqa: PLC0415

        return await trio.to_thread.run_sync(self.missing_now, targets)

    def _outputs(self, target: DerivedPath) -> dict[str, StorePath]:
        if not target.is_built:
            return {}
        outputs = self._store.derivation_outputs(target.path)
        return {name: path for name, path in outputs.items() if target.wants(name) and path is not None}
