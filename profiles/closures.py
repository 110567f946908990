"""What is registered about everything in a closure, and how large it is. Blocks on the store."""

from __future__ import annotations

from storefs.stores.closure import closure
from storefs.stores.local import LocalStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.api import Store
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StorePath


def closure_infos(store: Store, roots: Iterable[StorePath]) -> dict[StorePath, PathInfo]:
    """Return what is registered about `roots` and everything that they reach by references.

    Raises:
        InvalidPathError: one of them is not valid.
    """
    paths = closure(store, roots)
    if isinstance(store, LocalStore):
        return store.path_infos(paths)
    return {path: store.path_info(path) for path in paths}


def closure_sizes(store: Store, roots: Iterable[StorePath]) -> dict[str, int]:
    """Return the names of all paths of a closure with their NAR sizes in bytes."""
    return {path.base_name: info.nar_size for path, info in closure_infos(store, roots).items()}
