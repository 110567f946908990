"""`nix-store --read-log`: the logs of builds."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from builder.build_log import find_build_log, read_build_log
from storefs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.store_path import StorePath


def print_logs(config: Config, store: Store, paths: Iterable[StorePath]) -> int:
    """Print the log of each derivation, or of the derivation that made each path."""
    for path in paths:
        found = _find(config, store, path)
        if found is None:
            raise StoreError(f"build log of derivation '{store.directory.print(path)}' is not available")
        sys.stdout.flush()
        for piece in read_build_log(found):
            view = memoryview(piece)
            while view:
                view = view[os.write(1, view) :]
    return 0


def _find(config: Config, store: Store, path: StorePath) -> str | None:
    if path.is_derivation:
        return find_build_log(config, path)
    info = store.find_path_info(path)
    if info is None:
        # the output is gone or was never built, but derivations may still know it
        derivers = store.valid_derivers(path)
    else:
        derivers = [info.deriver] if info.deriver else store.valid_derivers(path)
    for deriver in derivers:
        found = find_build_log(config, deriver)
        if found is not None:
            return found
    return None
