"""Collecting when the disk runs low: nix.conf's `min-free` and `max-free`.

Called by the local store before an addition begins; costs one statvfs every `min-free-check-interval` seconds, and
nothing where `min-free` is 0, its default.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock

from storefs import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.config import Config
    from storefs.gc.collector import Collector


class AutomaticCollection:
    """Remembers when the disk was last looked at.  Usable from any thread; one of them collects, the others go on."""

    __slots__ = ("_config", "_lock", "_make_collector", "_next_look")

    def __init__(self, config: Config, make_collector: Callable[[], Collector]) -> None:
        self._config = config
        self._make_collector = make_collector
        self._lock = allocate_lock()
        self._next_look = 0.0

    def run_if_low(self) -> None:
        """Collect, in this thread, if less than `min-free` bytes are free, until `max-free` are.

        Raises what a collection raises.
        """
        min_free = self._config.integer("min-free")
        if not min_free or not self._lock.acquire(blocking=False):
            return
        try:
            now = time.monotonic()
            if now < self._next_look:
                return
            available = self.available()
            max_free = self._config.integer("max-free")
            if available < min_free and available < max_free:
                wanted = max_free - available
                logs.info(f"running auto-GC to free {wanted} bytes")
                collector = self._make_collector()
                try:
                    collector.collect(wanted)
                finally:
                    collector.close()
            self._next_look = time.monotonic() + self._config.integer("min-free-check-interval")
        finally:
            self._lock.release()

    def available(self) -> int:
        """The bytes that this process may still write, on the disk that holds the store.

        Nix's tests tell their own figure through a file.
        """
        told = self._config.variable("_NIX_TEST_FREE_SPACE_FILE")
        if told:
            with open(told, encoding="ascii") as file:
                return int(file.read())
        status = os.statvfs(self._config.verglas_dir)
        return status.f_bavail * status.f_frsize
