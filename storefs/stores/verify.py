"""Checking a local store: that everything registered is there, and that it is what was registered.

    quick       rows, trees, presence and sizes of blobs: from the tables, in about a microsecond for each file
    contents    the SHA-256 of every path's NAR, reading every byte, on all processors

No lock is held and no snapshot lives long: builds, additions and collections go on meanwhile, and a path is judged by
what is registered about it when it is its turn.  Called by the verify commands and the daemon.
"""

from __future__ import annotations

from storefs import logs
from storefs.castore.blobs import BlobError
from storefs.errors import StoreError
from storefs.formats.path_info import InvalidPathError
from storefs.metadata import path_infos, trees
from storefs.metadata.listings import find_directory
from storefs.metadata.records import CorruptRecordError
from storefs.metadata.trees import TreeDamagedError
from storefs.stores.presence import check_presence
from storefs.stores.readings import Readings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from storefs.formats.store_path import StorePath
    from storefs.metadata.environment import Transaction
    from storefs.stores.local import LocalStore

    Repair = Callable[[StorePath], None]

_PAGE = 1000


class Verification:
    """What a check found; ``unfixed`` paths are wrong still."""

    __slots__ = ("checked", "repaired", "unfixed")

    def __init__(self) -> None:
        self.checked = 0
        self.repaired: list[StorePath] = []
        self.unfixed: list[StorePath] = []


def verify_store(store: LocalStore, *, check_contents: bool, repair: Repair | None = None) -> Verification:
    """Check everything, say what is wrong as it is found, and mend what can be mended.

    A path whose data are gone is forgotten if no valid path refers to it.  ``repair`` makes a damaged or missing path
    whole again or raises StoreError.  Blobs that nothing names are removed.
    """
    result = Verification()
    logs.info("reading the Nix store...")
    with Readings(store) as readings:
        if check_contents:
            readings.begin([path for path, _ in _all_roots(store)])  # beside what follows
        presence = check_presence(store.environment, store.blobs, sizes=not check_contents)
        logs.info("checking path existence...")
        gone = _paths_with(store, presence.wrong) if presence.wrong else []
        _forget_gone(store, gone, repair, result)
        if presence.unnamed:
            _remove_unnamed(store, presence.unnamed)
        if check_contents:
            logs.info("checking hashes...")
            _check_contents(store, readings, set(gone), repair, result)
    return result


def verify_paths(store: LocalStore, paths: Iterable[StorePath]) -> list[StorePath]:
    """Check the contents of these valid paths, say which are modified, and return those; raises InvalidPathError."""
    paths = list(paths)
    for path in paths:
        store.path_info(path)
    with Readings(store) as readings:
        readings.begin(paths)
        return [path for path, wrong in readings.results() if wrong]


def is_intact(store: LocalStore, path: StorePath) -> bool:
    """Whether a valid path's contents are what is registered; reads all of them.  Raises InvalidPathError."""
    from storefs.stores.nar_hash_server import nar_hash  # noqa: PLC0415  as in Readings

    info = store.path_info(path)
    try:
        return nar_hash(store.environment, store.blobs, store.root_inode(path))[0] == info.nar_hash
    except (TreeDamagedError, BlobError, CorruptRecordError):
        return False


def _remove_unnamed(store: LocalStore, digests: list[bytes]) -> None:
    from storefs.gc.sweep import mark_orphans, sweep_blobs  # noqa: PLC0415  a tenth of a quick check of a sound store

    if mark_orphans(store.environment, store.blobs, digests):
        sweep_blobs(store.environment, store.blobs)


def _paths_with(store: LocalStore, inodes: set[int]) -> list[StorePath]:
    """The paths whose trees contain one of ``inodes``: only searched for when something is wrong."""
    found = []
    for path, root in _all_roots(store):
        if _contains(store, root, inodes):
            found.append(path)
    return found


def _contains(store: LocalStore, root: int, inodes: set[int]) -> bool:
    todo = [root]
    while todo:
        inode = todo.pop()
        if inode in inodes:
            return True
        with store.environment.snapshot() as txn:
            record = find_directory(store.environment, txn, inode)
        if record is not None:
            for child, mode in trees.decode_inodes(record):
                if child in inodes:
                    return True
                if mode == trees.MODE_DIRECTORY:
                    todo.append(child)
    return False


def _all_roots(store: LocalStore) -> Iterator[tuple[StorePath, int]]:
    after = b""
    while True:
        with store.environment.snapshot() as txn:
            page = path_infos.page_of_paths(store.environment, txn, after, _PAGE)
        for _, path, root in page:
            yield path, root
        if len(page) < _PAGE:
            return
        after = page[-1][0]


def _forget_gone(store: LocalStore, gone: list[StorePath], repair: Repair | None, result: Verification) -> None:
    """Mend or forget paths whose data are gone, those that refer to others first."""
    left = set(gone)
    while left:
        # Whoever is referred to only by paths that are gone as well goes after them.
        ready = [path for path in sorted(left) if not left.intersection(_other_referrers(store, path))] or sorted(left)
        for path in ready:
            left.discard(path)
            shown = store.directory.print(path)
            if not store.is_valid(path):
                continue
            referrers = _other_referrers(store, path)
            if repair is not None and _try_repair(store, path, repair, result):
                continue
            if referrers:
                logs.error(f"path '{shown}' disappeared, but it still has valid referrers!")
                result.unfixed.append(path)
                continue
            logs.error(f"path '{shown}' disappeared, removing from database...")
            _invalidate(store, path)


def _other_referrers(store: LocalStore, path: StorePath) -> list[StorePath]:
    try:
        return [each for each in store.referrers(path) if each != path]
    except InvalidPathError:
        return []


def _invalidate(store: LocalStore, path: StorePath) -> None:
    from storefs.metadata.tree_release import begin_release  # noqa: PLC0415  as in _remove_unnamed

    env = store.environment

    def work(txn: Transaction) -> list[tuple[StorePath, int]]:
        record = path_infos.find(env, txn, path)
        if record is None:
            return []
        path_infos.remove(env, txn, path, record)
        begin_release(env, txn, record.root, path.base_name)
        return [(path, record.root)]

    removed = env.update(work)
    if not removed:
        return
    collector = store.collector()
    try:
        collector.announce(removed)
    finally:
        collector.close()


def _check_contents(
    store: LocalStore, readings: Readings, skip: set[StorePath], repair: Repair | None, result: Verification
) -> None:
    for path, wrong in readings.results(skip):
        result.checked += 1
        if wrong and not (repair is not None and _try_repair(store, path, repair, result)):
            result.unfixed.append(path)


def _try_repair(store: LocalStore, path: StorePath, repair: Repair, result: Verification) -> bool:
    shown = store.directory.print(path)
    try:
        repair(path)
        if not is_intact(store, path):
            raise StoreError(f"path '{shown}' is still damaged after it was repaired")
    except StoreError as error:
        logs.warn(f"cannot repair path '{shown}': {error}")
        return False
    result.repaired.append(path)
    return True
