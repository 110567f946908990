"""Which output paths need not be built: asked once for many paths, of the store and of the substituters."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.store_path import StorePath


def ask_store(config: Config, store: Store | None, paths: Collection[str]) -> tuple[set[str], set[str]]:
    """Return those of `paths` that are valid, and those that a substituter has. May block on the network.

    Args:
        config: says which substituters there are.
        store: None where nothing was ever stored.
        paths: absolute store paths.
    """
    if not paths or store is None:
        return set(), set()
    directory = store.directory
    parsed = [directory.parse(path) for path in paths]
    valid = {directory.print(path) for path in store.valid_paths(parsed)}
    return valid, {directory.print(path) for path in _substitutable(config, store, parsed)}


def _substitutable(config: Config, store: Store, paths: list[StorePath]) -> set[StorePath]:
    ask_daemon = getattr(store, "substitutable_paths", None)
    if ask_daemon is not None:
        answer: set[StorePath] = ask_daemon(paths)
        return answer
    if not (config.boolean("substitute") and config.words("substituters")):
        return set()
    from storefs.stores.cache_uri import Caches  # noqa: PLC0415  who may fetch nothing need not load an HTTP client

    with Caches(config) as caches:
        return caches.substitution(store).substitutable(paths)
