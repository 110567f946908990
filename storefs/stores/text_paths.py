"""Text-addressed paths, `.drv` files above all: for every store that takes its contents in by itself."""

from __future__ import annotations

from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import PathInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.api import Store
    from storefs.formats.store_path import StorePath


def add_text_path(store: Store, name: str, content: bytes, references: Iterable[StorePath]) -> StorePath:
    """What `storefs.api.Store.add_text` promises, through the store's intake; a valid path is not written again."""
    references = tuple(references)
    sha256 = hash_bytes("sha256", content)
    path = store.directory.make_text_path(name, sha256, references)
    store.add_temp_root(path)
    if store.is_valid(path):
        return path
    with store.intake() as intake:
        tree = intake.add_bytes(content)
        ca = "text:" + sha256.to_string("base32", True)
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size, references, ca=ca))])
    return path
