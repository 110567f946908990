"""Opens the builder that a configuration means. The one place in this package that chooses implementations."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # what `signal` wraps into enumerations, which take 3 ms to make
import os
import sys
from contextlib import asynccontextmanager, contextmanager

from builder.progress import Progress
from storefs import logs
from storefs.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from builder.daemon_client import DaemonBuilder
    from builder.local_builder import LocalBuilder
    from builder.machine import LocalMachine
    from builder.nar_builder import NarBuilder
    from builder.request import OtherMachines
    from storefs.api import Store
    from storefs.config import Config


@contextmanager
def open_builder_now(
    config: Config, store: Store, progress: Progress | None = None, evaluated: Store | None = None
) -> Iterator[LocalBuilder | DaemonBuilder | NarBuilder]:
    """Open the builder for a store, for callers without an event loop.

    Args:
        config: directories and settings.
        store: where outputs go; a local one, or a daemon's, which then builds.
        progress: is told what happens; the display that fits if None.
        evaluated: has the derivations, if `store` is a local one that has not; sources are copied as builds need them.

    Raises:
        UsageError: nobody can build into this store.
        OSError: the scratch directory can't be made.
    """
    shown = progress or default_progress()
    try:
        # Which one it is tells what is loaded: who asks a daemon to build needs no LMDB, who builds here no protocol.
        if store.uri != "local":
            with _open_elsewhere(config, store, shown) as other:
                yield other
            return
        from builder.fetching import LazyFetcher, has_substituters  # noqa: PLC0415
        from builder.local_builder import LocalBuilder  # noqa: PLC0415
        from builder.machine import LocalMachine  # noqa: PLC0415
        from storefs.stores.local import LocalStore  # noqa: PLC0415

        assert isinstance(store, LocalStore)
        with (
            _Interruptible(),
            LocalMachine(config, store, shown, evaluated) as machine,
            LazyFetcher(config, store) as fetcher,
        ):
            others = _other_machines(machine)
            try:
                yield LocalBuilder(machine, fetcher if has_substituters(config) else None, others)
            finally:
                if others is not None:
                    others.close()
    finally:
        shown.close()


@contextmanager
def _open_elsewhere(config: Config, store: Store, shown: Progress) -> Iterator[DaemonBuilder | NarBuilder]:
    from storefs.stores.remote import RemoteStore  # noqa: PLC0415  loaded by now

    if isinstance(store, RemoteStore):
        from builder.daemon_client import DaemonBuilder  # noqa: PLC0415  see `open_builder_now`

        yield DaemonBuilder(store, shown)
        return
    from storefs.stores.nar_store import NarStore  # noqa: PLC0415  few build for a cache

    if not isinstance(store, NarStore):
        raise UsageError(f"don't know how to build into the store '{store.uri}'")
    from builder.nar_builder import NarBuilder  # noqa: PLC0415

    yield NarBuilder(config, store, shown, open_builder_now)


class _Interruptible:
    """Lets SIGTERM and SIGHUP end builds as Ctrl-C does: nothing may be left behind then either.

    Only in the main thread, where Python delivers signals, and only where nobody else has an opinion about them.
    """

    def __enter__(self) -> None:
        self._changed = []
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                try:
                    signal.signal(number, signal.default_int_handler)
                except ValueError:  # another thread
                    return
                self._changed.append(number)

    def __exit__(self, *exc: object) -> None:
        for number in self._changed:
            signal.signal(number, signal.SIG_DFL)


def default_progress() -> Progress:
    """Return the display that `--log-format`, -L, -Q and standard error ask for: lines, JSON, or a live view."""
    sink = logs.sink
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    if sink.json or sink.format in {"raw", "raw-with-logs"} or not is_terminal:
        return Progress(sink.build_logs is not False)
    from builder.live_view import LiveProgress  # noqa: PLC0415  only terminals pay for it

    return LiveProgress(sink.build_logs is not False or sink.format == "bar-with-logs")


def _other_machines(machine: LocalMachine) -> OtherMachines | None:
    """The build hook, or the machines that `builders` names; None where there are none, which is nearly everywhere."""
    hook = machine.config.text("build-hook") or machine.config.variable("NIX_BUILD_HOOK")
    if hook:
        from builder.build_hook import HookMachines  # noqa: PLC0415

        return HookMachines(machine, hook)
    text = machine.config.text("builders").strip()
    if not text or (text.startswith("@") and "\n" not in text and not os.path.exists(text[1:].strip())):
        return None
    from builder.remote_machines import RemoteMachines  # noqa: PLC0415

    return RemoteMachines(machine) or None


@asynccontextmanager
async def open_builder(
    config: Config, store: Store, progress: Progress | None = None
) -> AsyncIterator[LocalBuilder | DaemonBuilder | NarBuilder]:
    """Open the builder for a store, under trio; see `open_builder_now`."""
    with open_builder_now(config, store, progress) as builder:
        yield builder
