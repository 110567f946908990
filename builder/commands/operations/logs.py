"""The logs of builds, found here or in a binary cache: `nix-store --read-log`, `nix log`, `nix store copy-log`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from builder.build_log import find_build_log, read_build_log
from storefs import logs
from storefs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.store_path import StorePath


def print_logs(config: Config, store: Store, paths: Iterable[StorePath]) -> int:
    """Print the log of each derivation, or of the derivation that made each path.

    Looked for where the store is, and then in the substituters.
    """
    for path in paths:
        drv_paths = derivations(store, path)
        pieces = find_log(config, config.store_uri, drv_paths)
        if pieces is None and drv_paths and config.boolean("substitute"):
            pieces = _first_log(config, config.words("substituters"), drv_paths)
        if pieces is None:
            raise StoreError(f"build log of derivation '{store.directory.print(path)}' is not available")
        sys.stdout.flush()
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(1, view) :]
    return 0


def derivations(store: Store, path: StorePath) -> list[StorePath]:
    """Return `path` if it is a derivation, else those that made it, as far as somebody knows."""
    if path.is_derivation:
        return [path]
    info = store.find_path_info(path)
    if info is None:
        # the output is gone or was never built, but derivations may still know it
        return store.valid_derivers(path)
    return [info.deriver] if info.deriver else store.valid_derivers(path)


def keeps_logs(uri: str) -> bool:
    """Whether a store can be asked for logs: neither protocol that is spoken with other machines has a word for it."""
    return not uri.startswith(("ssh://", "ssh-ng://"))


def find_log(config: Config, uri: str, drv_paths: Sequence[StorePath]) -> Iterable[bytes] | None:
    """Return the log of the first of some derivations of which a store keeps one, None if it keeps none.

    Raises:
        StoreError: the store can't be asked.
    """
    from storefs.stores.cache_uri import Caches, is_cache_uri

    if is_cache_uri(uri):
        with Caches(config) as caches:
            cache = caches.open_cache(uri)
            for drv_path in drv_paths:
                log = cache.build_log(drv_path) if cache.is_usable() else None
                if log is not None:
                    return [log]
        return None
    if not keeps_logs(uri):
        logs.info(f"skipped '{uri}' which does not support retrieving build logs")
        return None
    for drv_path in drv_paths:
        found = find_build_log(config, drv_path)
        if found is not None:
            return read_build_log(found)
    return None


def _first_log(config: Config, uris: Iterable[str], drv_paths: Sequence[StorePath]) -> Iterable[bytes] | None:
    from storefs.stores.cache_uri import is_cache_uri

    for uri in uris:
        try:
            log = find_log(config, uri, drv_paths) if is_cache_uri(uri) else None
        except StoreError as error:
            logs.warn(str(error))
            continue
        if log is not None:
            return log
    return None
