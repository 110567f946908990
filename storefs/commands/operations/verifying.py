"""`nix-store --verify`, `--verify-path`, `--optimise` and `verglas verify`."""

from __future__ import annotations

from storefs import logs
from storefs.errors import StoreError
from storefs.stores.local import LocalStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from storefs.formats.store_path import StorePath
    from storefs.stores.nar_store import NarStore
    from storefs.stores.remote import RemoteStore

    Store = LocalStore | RemoteStore


def verify(store: Store, *, check_contents: bool, repair: Callable[[StorePath], None] | None) -> int:
    """Check the whole store; 1 if something is wrong still."""
    if isinstance(store, LocalStore):
        from storefs.stores.verify import verify_store

        wrong = bool(verify_store(store, check_contents=check_contents, repair=repair).unfixed)
    else:
        wrong = store.verify(check_contents=check_contents, repair=repair is not None)
    if wrong:
        logs.warn("not all store errors were fixed")
    return int(wrong)


def verify_paths(store: Store | NarStore, paths: Iterable[StorePath]) -> int:
    """Check the contents of these paths; 1 if one is modified."""
    if isinstance(store, LocalStore):
        from storefs.stores.verify import verify_paths as check

        return int(bool(check(store, paths)))
    from storefs.formats.hashes import Hasher

    status = 0
    for path in paths:
        expected = store.path_info(path).nar_hash
        hasher = Hasher("sha256")
        for piece in store.nar(path):
            hasher.update(piece)
        got = hasher.finish()
        if got != expected:
            texts = expected.to_string("base32", True), got.to_string("base32", True)
            shown = store.directory.print(path)
            logs.error(f"path '{shown}' was modified! expected hash '{texts[0]}', got '{texts[1]}'")
            status = 1
    return status


def untrusted_paths(
    store: Store | NarStore, paths: Iterable[StorePath], keys: Iterable[str], needed: int
) -> list[StorePath]:
    """Return the paths that nobody vouches for, and say which they are; the rules are those of `nix store verify`.

    Args:
        store: has the paths.
        paths: which to check.
        keys: those that are trusted, as text.
        needed: how many signatures by them are wanted; 0 also trusts what was built here. What is named by its own
            content needs none.
    """
    from storefs.formats.signatures import PublicKeys, is_content_addressed

    trusted = PublicKeys(keys)
    found = []
    for path in paths:
        info = store.path_info(path)
        if (info.ultimate and not needed) or is_content_addressed(info, store.directory):
            continue
        if len(set(trusted.verified_by(info, store.directory))) < max(needed, 1):
            logs.error(f"path '{store.directory.print(path)}' is untrusted")
            found.append(path)
    return found


def optimise(store: Store) -> int:
    """Say what sharing equal files saves: they are shared from the moment they are added."""
    if not isinstance(store, LocalStore):
        store.optimise()
        return 0
    from storefs.gc.sweep import mark_orphans, saved_by_sharing, sweep_blobs

    freed = 0
    if mark_orphans(store.environment, store.blobs):
        freed = sweep_blobs(store.environment, store.blobs)
    saved = saved_by_sharing(store.environment)
    logs.info(f"{freed / (1 << 20):.2f} MiB freed by hard-linking 0 files")
    logs.info(f"equal files are shared as they are added; that saves {saved / (1 << 20):.2f} MiB")
    return 0


def require_local(store: Store) -> LocalStore:
    """The store itself if it is a local one; raises StoreError."""
    if not isinstance(store, LocalStore):
        raise StoreError("you don't have sufficient rights to use this command")
    return store
