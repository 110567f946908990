"""From a path that a user typed to the store path that it leads to, through symbolic links outside of the store."""

from __future__ import annotations

import os

from storefs.formats.store_path import BadStorePath, StoreDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.formats.store_path import StorePath

_MOST_LINKS = 64


def follow_to_store(store_dir: str, text: str) -> StorePath:
    """Return the store path that `text` is, lies in, or leads to. Looks at the links only, not into the store.

    Raises:
        BadStorePath: it does not lead into the store.
    """
    directory = StoreDir(store_dir)
    path = os.path.abspath(text)
    for _ in range(_MOST_LINKS):
        if directory.is_in_store(path):
            return directory.to_store_path(path)[0]
        if not os.path.islink(path):
            break
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    raise BadStorePath(f"path '{path}' is not in the Nix store")
