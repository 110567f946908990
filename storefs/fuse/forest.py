"""The `Forest` of a `View`: trees as they lie in the metadata, one snapshot for each request.

Where the file-system view meets `storefs.metadata`; used by whoever serves a mount. One object serves one thread.

A fresh snapshot for each request costs half a microsecond and buys three things: the root always shows the latest
commit, no snapshot of an idle mount pins the pages that others free, and a removed tree is seen to be gone.
"""

from __future__ import annotations

import os
import time
from itertools import islice

from storefs.fuse.view import GoneError
from storefs.metadata import path_infos, trees
from storefs.metadata.entry_search import RecentDirectories, find_entry
from storefs.metadata.listings import find_directory, listing_of
from storefs.metadata.records import path_of_key, root_of
from storefs.metadata.schema import KEY
from storefs.metadata.uses import find_uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from storefs.fuse.view import Inode, Record
    from storefs.metadata.environment import Environment, Transaction

# A listing position is the first bits of the digest and which of the paths with these bits it is, counted from 1.
_DIGEST_BITS, _INDEX_BITS = 55, 6
# Look-ups come in bursts for one directory: a copy of a small one answers them without a snapshot.
_SMALL_DIRECTORY = 16 << 10  # bytes: about 90 entries
_SEARCH_SECONDS = 5.0  # for the name in a message; who waits for the control thread should not notice
_SEARCH_PAGE = 20  # paths in one snapshot


class MetadataForest:
    """Trees of the valid paths in an environment.

    Args:
        environment: open, and kept open by the caller.
        folder: the host directory in which the blobs lie.
        blob_path: where a blob lies, by its digest.
    """

    def __init__(self, environment: Environment, folder: str, blob_path: Callable[[bytes], str]) -> None:
        self._environment = environment
        self._identity = _identity_of(environment.file)
        self._begin = environment.begin_read
        self._end = environment.end_read
        self._nodes = environment.nodes
        self._txn: Transaction | None = None
        self._last = 0
        self.recent = RecentDirectories()
        self.folder = folder
        self.blob_path = blob_path

    def end(self) -> None:
        """Let go of the snapshot, if there is one."""
        txn = self._txn
        if txn is not None:
            self._txn = None
            self._end(txn)

    def is_in_place(self) -> bool:
        """Whether the database that is open is the one that a process finds which opens it now."""
        return _identity_of(self._environment.file) == self._identity

    def find_path(self, name: bytes) -> Record | None:
        """Return the entry record of a store path."""
        inode = path_infos.find_root(self._environment, self._snapshot(), name)
        return None if inode is None else self._entry_of(inode)

    def paths(self, after: int) -> Iterator[tuple[int, bytes, Record]]:
        """Yield the entries of the store directory beyond a position, in the order of their digests."""
        cursor = self._snapshot().cursor(self._environment.paths)
        prefix = max(after - 1, 0) >> _INDEX_BITS
        if not cursor.set_range((prefix << 64 - _DIGEST_BITS).to_bytes(8, "big")):
            return
        position = 0
        for key, value in cursor.iternext():
            first = (int.from_bytes(key[:8], "big") >> 64 - _DIGEST_BITS << _INDEX_BITS) + 1
            position = max(first, position + 1)
            if position > after:
                yield position, path_of_key(bytes(key)).base_name.encode(), self._entry_of(root_of(value))

    def find_entry(self, directory: Inode, name: bytes) -> Record | None:
        """Return the entry record of a name in a directory."""
        record: Record | None = self.recent.get(directory)  # type: ignore[no-untyped-call]
        if record is None:
            record = self._directory(directory)
            if directory == self._last and len(record) <= _SMALL_DIRECTORY:
                self.recent.keep(directory, record)
            self._last = directory
        position = find_entry(record, name)
        return None if position is None else record[position : position + trees.ENTRY_SIZE]

    def entries(self, directory: Inode) -> tuple[Record, memoryview]:
        """Return a directory's entries and their positions."""
        record = self._directory(directory)
        return record[trees.entries_start(record) :], trees.entry_offsets(record)

    def attributes(self, inode: Inode) -> Record:
        """Return the attribute record of an inode."""
        key = KEY.pack(inode)
        record = self._snapshot().get(key, db=self._nodes)
        if record is not None:
            return trees.node_attr(record)
        self._directory(inode)
        return trees.encode_attr(inode, 0, trees.MODE_DIRECTORY)

    def content(self, inode: Inode) -> tuple[Record | None, bytes, int]:
        """Return a file's bytes or the digest of its blob, or a symbolic link's target."""
        record = self._snapshot().get(KEY.pack(inode), db=self._nodes)
        if record is None:
            raise GoneError
        if trees.node_kind(record) == trees.BLOB:
            return None, bytes(trees.node_payload(record)), trees.node_size(record)
        return trees.node_payload(record), b"", 0

    def forget_directories(self) -> None:
        """Drop copies of directories."""
        self.recent.clear()

    def children(self, inode: Inode) -> list[tuple[Inode, bool]] | None:
        """Return (inode, whether it is a directory) of a directory's entries, None for anything else."""
        record = find_directory(self._environment, self._snapshot(), inode)
        if record is None:
            return None
        return [(child, mode == trees.MODE_DIRECTORY) for child, mode in trees.decode_inodes(record)]

    def names(self, directory: Inode) -> list[tuple[bytes, Inode]]:
        """Return (name, inode) of a directory's entries."""
        record = find_directory(self._environment, self._snapshot(), directory)
        return [] if record is None else [(name, inode) for name, inode, _, _ in trees.decode_directory(record)]

    def uses(self, inode: Inode) -> int:
        """Return how many names a regular file has; those in directories that share a listing count once."""
        return find_uses(self._environment, self._snapshot(), KEY.pack(inode))

    def sharing(self, directory: Inode) -> tuple[bytes, int]:
        """Return what a directory has in common with others, and how many they are with itself."""
        txn = self._snapshot()
        listing = listing_of(self._environment, txn, directory)
        return listing, find_uses(self._environment, txn, listing) if listing else 1

    def name_containing(self, inode: Inode) -> bytes | None:
        """Return the name of a store path whose tree has this inode, None if there is none or it takes too long.

        Reads, in the worst case, every directory; a few paths in each snapshot.
        """
        deadline = time.monotonic() + _SEARCH_SECONDS
        position = 0
        while time.monotonic() < deadline:
            page = [(at, name, _inode_of(entry)) for at, name, entry in islice(self.paths(position), _SEARCH_PAGE)]
            if not page:
                break
            for _, name, root in page:
                if self._contains(root, inode):
                    return name
            position = page[len(page) - 1][0]
            self.end()
        return None

    def _contains(self, root: Inode, inode: Inode) -> bool:
        pending = [root]
        while pending:
            current = pending.pop()
            if current == inode:
                return True
            for child, is_directory in self.children(current) or ():
                if child == inode:
                    return True
                if is_directory:
                    pending.append(child)
        return False

    def _snapshot(self) -> Transaction:
        txn = self._txn
        if txn is None:
            txn = self._txn = self._begin(True)
        return txn

    def _directory(self, inode: Inode) -> Record:
        record = find_directory(self._environment, self._snapshot(), inode)
        if record is None:
            raise GoneError
        return record

    def _entry_of(self, inode: Inode) -> Record:
        return trees.encode_entry(inode, 0, 0)[: trees.ENTRY_HEAD] + bytes(self.attributes(inode))


def _identity_of(file: str) -> tuple[int, int] | None:
    try:
        status = os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _inode_of(entry: Record) -> Inode:
    return int.from_bytes(entry[:8], "little")
