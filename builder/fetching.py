"""The builder's way to substituters, loaded when something is first asked of them.

Who builds what is all here, or has no substituters, does not pay for an HTTP client. Thread-safe, blocking.
"""

from __future__ import annotations

from _thread import allocate_lock

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from storefs.api import Offer
    from storefs.config import Config
    from storefs.formats.realisation import DrvOutput, Realisation
    from storefs.formats.store_path import StorePath
    from storefs.stores.cache_uri import Caches
    from storefs.stores.local import LocalStore
    from storefs.stores.substitution import Substitution


class LazyFetcher:
    """Implements `builder.goals.Fetcher` over the substituters of a configuration. A context manager."""

    def __init__(self, config: Config, store: LocalStore) -> None:
        self._config = config
        self._store = store
        self._lock = allocate_lock()
        self._caches: Caches | None = None
        self._substitution: Substitution | None = None

    def __enter__(self) -> LazyFetcher:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._caches is not None:
            self._caches.close()

    def offers(self, paths: Collection[StorePath]) -> Mapping[StorePath, Offer]:
        """Return what substituters have of `paths`."""
        return self._open().offers(paths)

    def realisations(self, output: DrvOutput) -> list[Realisation]:
        """Return what substituters say an output is, after what that rests on; see `builder.goals.Fetcher`."""
        return self._open().realisations(output)

    def fetch(self, path: StorePath) -> None:
        """Make a path and everything it refers to valid.

        Raises:
            StoreError: no substituter has it whole and intact.
        """
        self._open().fetch(path)

    def mend(self, path: StorePath) -> None:
        """Put the contents that a valid path was registered with in the place of damaged ones.

        Raises:
            StoreError: no substituter has them.
        """
        with self._store.intake(repair=True) as intake:
            tree, _ = self._open().take(intake, path)
            info = self._store.path_info(path)
            if tree.nar_hash != info.nar_hash:
                shown = self._store.directory.print(path)
                raise StoreError(f"substituters have other contents for '{shown}' than it was registered with")
            intake.register([(tree, info)], replace=True)

    def _open(self) -> Substitution:
        with self._lock:
            if self._substitution is None:
                from storefs.stores.cache_uri import Caches  # noqa: PLC0415  see the module

                self._caches = Caches(self._config)
                self._substitution = self._caches.substitution(self._store)
            return self._substitution


def has_substituters(config: Config) -> bool:
    """Whether there is anybody to ask."""
    return config.boolean("substitute") and bool(config.words("substituters"))
