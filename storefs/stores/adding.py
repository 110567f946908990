"""Adding host files and directories to any store, with a path that follows from their contents.

What `nix-store --add`, `--add-fixed`, `builtins.path` and `nix-prefetch-url` have in common.  Works on the interface
`storefs.api.Store`; may block for as long as reading the source takes.
"""

from __future__ import annotations

import os
import stat

from storefs.castore.host_tree import HostTreeError
from storefs.formats.content_address import FLAT, RECURSIVE, ContentAddress
from storefs.formats.hashes import Hasher
from storefs.formats.path_info import PathInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from storefs.api import Store
    from storefs.formats.hashes import Hash
    from storefs.formats.store_path import StorePath


def add_host_path(
    store: Store,
    source: str,
    name: str,
    *,
    recursive: bool = True,
    algo: str = "sha256",
    references: Iterable[StorePath] = (),
    keep: Callable[[bytes, str], bool] | None = None,
) -> StorePath:
    """Add the object at the host path ``source`` under ``name`` and return its path.

    ``recursive`` hashes its NAR with ``algo``, otherwise it must be a regular file whose bytes are hashed (a final
    symbolic link is followed, as Nix does).  ``keep`` filters a recursive one, see `storefs.api.Intake.add_tree`.
    Raises StoreError for what can't be read or can't be in a store.
    """
    references = tuple(references)
    if not recursive:
        source = flat_file(source)
    with store.intake() as intake:
        other = Hasher(algo) if recursive and algo != "sha256" else None
        tree = intake.add_tree(source, nar_sink=None if other is None else other.update, keep=keep)
        content_hash: Hash
        if not recursive:
            content_hash = hash_flat_file(source, algo)
        else:
            content_hash = tree.nar_hash if other is None else other.finish()
        address = ContentAddress(RECURSIVE if recursive else FLAT, content_hash)
        path = address.store_path(store.directory, name, references)
        store.add_temp_root(path)
        if not store.is_valid(path):
            info = PathInfo(path, tree.nar_hash, tree.nar_size, references, ca=str(address))
            intake.register([(tree, info)])
    return path


def flat_file(source: str) -> str:
    """The regular file that ``source`` is or leads to; raises HostTreeError for anything else."""
    real = os.path.realpath(source)
    try:
        mode = os.stat(real).st_mode
    except OSError as error:
        raise HostTreeError(f"cannot read '{source}': {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise HostTreeError(f"'{source}' is no regular file; only a recursive hash can tell what it contains")
    return real


def hash_flat_file(path: str, algo: str) -> Hash:
    """The hash of a file's bytes; raises HostTreeError."""
    hasher = Hasher(algo)
    try:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(1 << 20):
                hasher.update(piece)
    except OSError as error:
        raise HostTreeError(f"cannot read '{path}': {error.strerror}") from error
    return hasher.finish()
