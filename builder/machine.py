"""What the builds of one process on this machine share: its store, the process that starts builders, scratch space.

Everything is made, and loaded, when it is first needed, so that asking what there is to build costs nothing. Used by
`derivation_builder` and what it calls; made by `open`.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.progress import Progress
    from builder.sandbox.spawn import Spawner
    from builder.scratch import Scratch
    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StorePath
    from storefs.stores.local import LocalStore


class LocalMachine:
    """See the module. Thread-safe. A context manager.

    Args:
        config: directories and settings.
        store: where inputs are and outputs go.
        progress: is told what happens.
        evaluated: another store that has the derivations and their sources (`--eval-store`); None if `store` has them.

    Attributes:
        privileged: whether this process is root.
        user_namespaces: whether the kernel allows them.
    """

    def __init__(self, config: Config, store: LocalStore, progress: Progress, evaluated: Store | None = None) -> None:
        self.config = config
        self.store = store
        self.evaluated = evaluated
        self.progress = progress
        self.privileged = os.geteuid() == 0
        self.user_namespaces = _user_namespaces_allowed()
        self._lock = allocate_lock()
        self._scratch: Scratch | None = None
        self._plain: Spawner | None = None
        self._mounted: Spawner | None = None
        self._mounted_store = ""

    def __enter__(self) -> LocalMachine:
        return self

    def __exit__(self, *exc: object) -> None:
        """End every builder that still runs and remove what is left on disk."""
        for spawner in (self._plain, self._mounted):
            if spawner is not None:
                spawner.close()
        if self._scratch is not None:
            self._scratch.close()

    def derivation(self, path: StorePath) -> Derivation:
        """The derivation at a path, from the store that has it. Raises StoreError."""
        evaluated = self.evaluated
        return (evaluated if evaluated is not None and evaluated.is_valid(path) else self.store).derivation(path)

    def start(self) -> None:
        """Start what takes longest: call it when it is clear that something will be built. Idempotent."""
        with self._lock:
            if self._plain is None:
                from builder.sandbox.spawn import Spawner  # noqa: PLC0415  see the module

                self._plain = Spawner()

    def spawner(self, *, with_store: bool) -> tuple[Spawner, str]:
        """Return who starts builders, and where their view of the host has the store ('' if they need none).

        Raises:
            StoreError: the store can't be mounted.
        """
        self.start()
        assert self._plain is not None
        if not with_store:
            return self._plain, ""
        with self._lock:
            if not self._mounted_store:
                from builder.sandbox.spawn import Spawner  # noqa: PLC0415  see the module
                from storefs.stores.mountpoint import ensure_mounted, find_mount  # noqa: PLC0415

                if self.privileged:
                    self._mounted_store = ensure_mounted(self.config)
                else:
                    self._mounted_store = find_mount(self.config) or ""
                    if not self._mounted_store:
                        self._mounted = Spawner(self.config)
                        self._mounted_store = self._mounted.mounted_store
            return self._mounted or self._plain, self._mounted_store

    def scratch_directory(self) -> str:
        """Make an empty directory for one build; see `builder.scratch`. Raises OSError."""
        with self._lock:
            if self._scratch is None:
                from builder.scratch import Scratch  # noqa: PLC0415  see the module

                self._scratch = Scratch(self.config)
                self._scratch.open()
        return self._scratch.new_directory()

    def discard(self, path: str) -> None:
        """Have something in such a directory gone, and what is in it removed soon. Never raises."""
        assert self._scratch is not None
        self._scratch.discard(path)


def _user_namespaces_allowed() -> bool:
    try:
        with open("/proc/sys/user/max_user_namespaces", encoding="ascii") as file:
            return int(file.read()) > 0
    except (OSError, ValueError):
        return False
