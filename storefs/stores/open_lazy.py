"""Opens what a lazy mount shows beside the valid paths, from a configuration. Used by `storefs.commands.mount`."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from storefs.stores.cache_uri import Caches
from storefs.stores.lazy import LazyPaths
from storefs.stores.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.config import Config

_ATTEMPTS = "2"  # a program hangs while we try again
_MISSING_FOR = "10"  # seconds until a path that no cache had is asked for again: what is pushed appears


@contextmanager
def open_lazy_paths(config: Config) -> Iterator[LazyPaths]:
    """A context with the lazy paths of the configured substituters. Starts a thread; raises StoreError."""
    config = config.with_settings([("download-attempts", _ATTEMPTS), ("narinfo-cache-negative-ttl", _MISSING_FOR)])
    folder = f"{config.verglas_dir}/tmp"
    with LocalStore(config) as store, Caches(config) as caches:
        os.makedirs(folder, exist_ok=True)
        lazy = LazyPaths(store, caches.substitution(store), caches.trust(), folder)
        try:
            yield lazy
        finally:
            lazy.close()
