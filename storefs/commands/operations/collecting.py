"""Garbage collection for `nix-store --gc`, `--delete`, `nix-collect-garbage` and `verglas gc`."""

from __future__ import annotations

import sys

from storefs.errors import StoreError
from storefs.gc.reserve import drop_reserve
from storefs.stores.local import LocalStore
from storefs.stores.open import open_local_store, open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.config import Config
    from storefs.formats.store_path import StorePath
    from storefs.gc.collector import Collected
    from storefs.stores.remote import RemoteStore

NO_LIMIT = 2**64 - 1

# What the worker protocol calls the things a collector can do.
_RETURN_LIVE, _RETURN_DEAD, _DELETE_DEAD, _DELETE_SPECIFIC = range(4)


def open_for_collection(config: Config) -> LocalStore | RemoteStore:
    """Open the store after giving the reserve back to the disk: on a full one the database could not even be opened."""
    if config.store_uri in {"", "auto", "local"}:
        drop_reserve(config)
        store = open_store(config)
        if isinstance(store, LocalStore):
            store.close()
            return open_local_store(config, collecting=True)
        return store
    return open_store(config)


def collect_garbage(config: Config, max_freed: int = NO_LIMIT) -> int:
    """Remove what is dead and say how much that was."""
    store = open_for_collection(config)
    try:
        if isinstance(store, LocalStore):
            collector = store.collector()
            try:
                _report(collector.collect(max_freed))
            finally:
                collector.close()
        else:
            paths, freed = store.collect_garbage(action=_DELETE_DEAD, max_freed=max_freed)
            _report_numbers(len(list(paths)), freed)
    finally:
        store.close()
    return 0


def delete_paths(config: Config, paths: Iterable[StorePath], *, ignore_liveness: bool) -> int:
    """Remove these paths if nothing needs them."""
    store = open_for_collection(config)
    try:
        if isinstance(store, LocalStore):
            collector = store.collector()
            try:
                _report(collector.delete(paths, ignore_liveness=ignore_liveness))
            except StoreError:
                _report_numbers(0, 0)  # nothing is removed if one can't be; Nix says so, too
                raise
            finally:
                collector.close()
        else:
            deleted, freed = store.collect_garbage(
                action=_DELETE_SPECIFIC, paths=list(paths), ignore_liveness=ignore_liveness
            )
            _report_numbers(len(list(deleted)), freed)
    finally:
        store.close()
    return 0


def print_liveness(config: Config, *, live: bool) -> int:
    """Print the paths that a collection would keep, or those that it would remove."""
    store = open_store(config)
    try:
        if isinstance(store, LocalStore):
            collector = store.collector()
            try:
                write = sys.stdout.write
                for path in collector.live() if live else collector.dead():
                    write(store.directory.print(path) + "\n")
            finally:
                collector.close()
        else:
            paths, _ = store.collect_garbage(action=_RETURN_LIVE if live else _RETURN_DEAD)
            sys.stdout.writelines(f"{path}\n" for path in paths)
    finally:
        store.close()
    return 0


def print_roots(config: Config) -> int:
    """Print every root and the path that it keeps, sorted by root."""
    store = open_store(config)
    try:
        lines = [(link, store.directory.print(path)) for path, links in find_roots(store).items() for link in links]
        sys.stdout.writelines(f"{link} -> {path}\n" for link, path in sorted(lines))
    finally:
        store.close()
    return 0


def find_roots(store: LocalStore | RemoteStore) -> dict[StorePath, list[str]]:
    """The valid roots of a store, each with what makes it one."""
    if isinstance(store, LocalStore):
        collector = store.collector()
        try:
            return collector.roots()
        finally:
            collector.close()
    found: dict[StorePath, list[str]] = {}
    for link, path in store.find_roots():
        found.setdefault(path, []).append(link)
    return found


def _report(collected: Collected) -> None:
    _report_numbers(len(collected.paths), collected.bytes_freed)


def _report_numbers(paths: int, freed: int) -> None:
    sys.stdout.write(f"{paths} store paths deleted, {freed / (1 << 20):.2f} MiB freed\n")
