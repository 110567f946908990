"""`nix-store --dump-db`, `--load-db`, `--register-validity`, `--check-validity`: what is valid, as text."""

from __future__ import annotations

import os
import sys

from storefs import logs
from storefs.errors import StoreError
from storefs.formats.path_info import InvalidPathError, PathInfo
from storefs.formats.registration import read_registrations, write_registration
from storefs.stores.local import LocalStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.api import Store, Tree
    from storefs.formats.store_path import StorePath


def dump_registrations(store: Store, paths: Iterable[StorePath]) -> int:
    """Print the records of valid paths."""
    for path in paths:
        sys.stdout.write(write_registration(store.path_info(path), store.directory))
    return 0


def register_from_stdin(store: Store, *, with_hashes: bool, reregister: bool) -> int:
    """Make paths valid whose files lie in the physical store directory, all in one transaction.

    That is how a store of another program is taken over: the bytes are moved into this one's keeping and checked
    against the hash, where there is one. A record of a path that is valid already is passed over, or, with
    ``reregister``, its metadata are replaced. Raises StoreError, and then nothing has changed.
    """
    if not isinstance(store, LocalStore):
        raise StoreError("you don't have sufficient rights to use this command")
    physical = store.config.physical_store_dir
    additions: list[tuple[Tree, PathInfo]] = []
    updates: list[PathInfo] = []
    taken: list[str] = []
    with store.intake() as intake:
        for record in read_registrations(sys.stdin, store.directory, with_hashes=with_hashes):
            old = store.find_path_info(record.path)
            if old is not None:
                if reregister:
                    updates.append(
                        old.replace(
                            references=record.references,
                            deriver=record.deriver,
                            nar_hash=record.nar_hash or old.nar_hash,
                            nar_size=record.nar_size or old.nar_size,
                        )
                    )
                continue
            source = f"{physical}/{record.path}"
            if not os.path.lexists(source):
                raise InvalidPathError(store.directory, record.path)
            tree = intake.add_tree(source)
            taken.append(source)
            nar_hash = record.nar_hash or tree.nar_hash
            additions.append((tree, PathInfo(record.path, nar_hash, tree.nar_size, record.references, record.deriver)))
        intake.register(additions)
    for info in updates:
        store.update_path_info(info)
    for source in taken:
        logs.log(logs.TALKATIVE, f"registered '{source}'; the files there are not needed any more")
    return 0


def check_validity(store: Store, paths: Iterable[StorePath], *, print_invalid: bool) -> int:
    """Print which paths are not valid, or fail with the first of them."""
    paths = list(paths)
    valid = store.valid_paths(paths)
    for path in paths:
        if path not in valid:
            if not print_invalid:
                raise InvalidPathError(store.directory, path)
            sys.stdout.write(store.directory.print(path) + "\n")
    return 0
