"""The contents of many paths, read and hashed on all processors, and compared with what is registered.

Reading begins at once and goes on while the caller does something else; what is wrong is said when the caller asks for
it.  No lock is held: a path that is collected or replaced meanwhile is not wrong.  For stores/verify.py.
"""

from __future__ import annotations

import os

from storefs import logs
from storefs.castore.blobs import BlobError
from storefs.formats.path_info import InvalidPathError
from storefs.metadata import trees
from storefs.metadata.records import CorruptRecordError
from storefs.metadata.schema import KEY
from storefs.metadata.trees import TreeDamagedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor
    from typing import Self

    from storefs.errors import StoreError
    from storefs.formats.hashes import Hash
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StorePath
    from storefs.stores.local import LocalStore
    from storefs.stores.nar_hashing import NarHashers

_PATHS_AT_ONCE = 1000


class Readings:
    """See the module.  A context manager, which ends what is under way; nothing is loaded before `begin`."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._paths: list[StorePath] = []
        self._started: list[Future[_Reading | None]] = []
        self._pool: ThreadPoolExecutor | None = None
        self._hashers: NarHashers | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None and self._hashers is not None:
            # First, and with them go the processes: an interrupted check ends at once.
            self._hashers.__exit__()
            self._pool.shutdown(cancel_futures=True)

    def begin(self, paths: list[StorePath]) -> None:
        """Begin to read these paths; once."""
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  a quick check does without

        from storefs.stores.nar_hashing import NarHashers  # noqa: PLC0415

        self._paths = paths
        self._pool = ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0))))
        self._hashers = NarHashers(self._store.environment, self._store.config.verglas_dir, self._store.blobs)
        self._start(self._pool, 0)

    def results(self, skip: Collection[StorePath] = ()) -> Iterator[tuple[StorePath, bool]]:
        """Yield (path, whether it is wrong), having said so, in order; those of ``skip`` are passed over."""
        if self._pool is None:
            return
        for start in range(0, len(self._paths), _PATHS_AT_ONCE):
            if start:
                self._start(self._pool, start)
            for path, reading in zip(self._paths[start : start + _PATHS_AT_ONCE], self._started, strict=True):
                if path not in skip:
                    yield path, self._is_wrong(path, reading)

    def _start(self, pool: ThreadPoolExecutor, start: int) -> None:
        self._started = [pool.submit(self._read, path) for path in self._paths[start : start + _PATHS_AT_ONCE]]

    def _read(self, path: StorePath) -> _Reading | None:
        """Read one path, in a thread; None for one that was collected meanwhile."""
        assert self._hashers is not None
        info = self._store.find_path_info(path)
        if info is None:
            return None
        try:
            root = self._store.root_inode(path)
        except InvalidPathError:
            return None
        try:
            return _Reading(info, root, *self._hashers.hash(root, info.nar_size))
        except (TreeDamagedError, BlobError, CorruptRecordError) as error:
            return _Reading(info, root, error=error)

    def _is_wrong(self, path: StorePath, future: Future[_Reading | None]) -> bool:
        store = self._store
        shown = store.directory.print(path)
        logs.log(logs.TALKATIVE, f"checking contents of '{shown}'")
        reading = future.result()
        if reading is None:
            return False
        info, found = reading.info, reading.hash
        if found == info.nar_hash:
            if info.nar_size != reading.size:
                _fix_size(store, info, reading.size, shown)
            return False
        if store.find_path_info(path) != info or store.root_inode(path) != reading.root:
            return False  # collected or replaced since
        if found is None:
            logs.error(f"path '{shown}' was modified! {reading.error}")
            return True
        expected, got = info.nar_hash.to_string("base32", True), found.to_string("base32", True)
        logs.error(f"path '{shown}' was modified! expected hash '{expected}', got '{got}'")
        for name in _damaged_files(store, path):
            logs.error(f"  the contents of '{shown}{name}' are damaged")
        return True


class _Reading:
    """What was registered about a path when it was read, and its NAR's hash and size, or why it has none."""

    __slots__ = ("error", "hash", "info", "root", "size")

    def __init__(
        self, info: PathInfo, root: int, found: Hash | None = None, size: int = 0, *, error: StoreError | None = None
    ) -> None:
        self.info = info
        self.root = root
        self.hash = found
        self.size = size
        self.error = error


def _fix_size(store: LocalStore, info: PathInfo, size: int, shown: str) -> None:
    if info.nar_size:
        logs.error(f"path '{shown}' has size {size}, but {info.nar_size} was registered")
    logs.info(f"updating size field on '{shown}' to {size}")
    store.update_path_info(info.replace(nar_size=size))


def _damaged_files(store: LocalStore, path: StorePath) -> Iterator[str]:
    """The names of those files that are blobs and no longer what their own names promise."""
    todo = [("", store.root_inode(path))]
    while todo:
        name, inode = todo.pop()
        entry = store.reader.entry(inode)
        if entry.is_directory:
            todo.extend(
                (f"{name}/{os.fsdecode(child.name)}", child.inode) for child in reversed(store.reader.entries(inode))
            )
            continue
        with store.environment.snapshot() as txn:
            node = txn.get(KEY.pack(inode), db=store.environment.nodes)
        if node is not None and node[0] == trees.BLOB and not store.blobs.is_intact(trees.node_payload(node)):
            yield name
