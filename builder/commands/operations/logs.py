"""`nix-store --read-log`: the logs of builds."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from builder.build_log import find_build_log, read_build_log
from storefs.errors import StoreError
from storefs.logs import warn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.store_path import StorePath


def print_logs(config: Config, store: Store, paths: Iterable[StorePath]) -> int:
    """Print the log of each derivation, or of the derivation that made each path; from a cache, if it is not here."""
    for path in paths:
        pieces = _find(config, _derivations(store, path))
        if pieces is None:
            raise StoreError(f"build log of derivation '{store.directory.print(path)}' is not available")
        sys.stdout.flush()
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(1, view) :]
    return 0


def _derivations(store: Store, path: StorePath) -> list[StorePath]:
    if path.is_derivation:
        return [path]
    info = store.find_path_info(path)
    if info is None:
        # the output is gone or was never built, but derivations may still know it
        return store.valid_derivers(path)
    return [info.deriver] if info.deriver else store.valid_derivers(path)


def _find(config: Config, derivations: list[StorePath]) -> Iterable[bytes] | None:
    for derivation in derivations:
        found = find_build_log(config, derivation)
        if found is not None:
            return read_build_log(found)
    if derivations and config.boolean("substitute"):
        return _find_in_caches(config, derivations)
    return None


def _find_in_caches(config: Config, derivations: list[StorePath]) -> list[bytes] | None:
    from storefs.stores.cache_uri import Caches, is_cache_uri

    with Caches(config) as caches:
        for uri in config.words("substituters"):
            cache = caches.open_cache(uri) if is_cache_uri(uri) else None
            for derivation in derivations:
                try:
                    log = cache.build_log(derivation) if cache is not None and cache.is_usable() else None
                except StoreError as error:
                    warn(str(error))
                    break
                if log is not None:
                    return [log]
    return None
