"""Paths that are not here but that a cache knows: shown as soon as they are looked up, fetched when they are read.

For a lazy mount. A path's tree comes from the cache's `.ls` listing, or from its NAR where there is none. When one of
its files is read for the first time, the whole NAR is fetched into an unlinked file, compared with the signed hash and
with the listing, and only then shown: files are slices of that NAR. Meanwhile a thread of its own fetches the closure
of everything that was looked up, references first, and registers it; from then on look-ups find the valid path.

Nothing here is durable, and nothing needs to be: what was not registered when the mount ends was never valid.

Thread-safe. `find`, `is_absent`, `owns`, `directory`, `attributes` and `content` answer at once, from memory;
`discover` and `fetch` wait for the network, and raise StoreError within its time-outs.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import threading
import time
from bisect import bisect_right
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from storefs.errors import StoreError, SystemRefusedError
from storefs.formats.byte_reader import ByteReader
from storefs.formats.hashes import Hasher
from storefs.formats.nar_listing import list_nar
from storefs.logs import INFO, log, warn
from storefs.metadata import trees
from storefs.stores.binary_cache import BinaryCache
from storefs.stores.copying import BadSubstituteError
from storefs.stores.offer_query import query
from storefs.stores.substitution import SubstitutionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.formats.narinfo import NarInfo
    from storefs.formats.store_path import StorePath
    from storefs.stores.copying import Trust
    from storefs.stores.local import LocalStore
    from storefs.stores.offer_query import Source
    from storefs.stores.substitution import Substitution

FIRST_INODE = 1 << 62  # far above every inode of a registered tree
_ABSENT_FOR = 10.0  # seconds for which a name that no cache knows is not asked about again
_PIECE = 1 << 20


class LazyTree:
    """One path: its tree, and its bytes once they are here.

    Attributes:
        path: the store path.
        source, narinfo: who has it, and what they say.
        first: its lowest inode number; those of a tree are consecutive.
        entry: the root's entry record.
    """

    __slots__ = (
        "_directories",
        "_files",
        "_links",
        "bytes",
        "entry",
        "first",
        "last",
        "listing",
        "lock",
        "narinfo",
        "path",
        "source",
    )

    def __init__(self, path: StorePath, source: Source, narinfo: NarInfo, listing: dict[str, Any], first: int) -> None:
        self.path = path
        self.source = source
        self.narinfo = narinfo
        self.listing = listing
        self.first = self.last = first
        self.lock = threading.Lock()  # held while the bytes are fetched
        self.bytes: memoryview | None = None
        self._directories: dict[int, bytes] = {}
        self._files: dict[int, tuple[int, int, int]] = {}  # size, mode, offset in the NAR
        self._links: dict[int, bytes] = {}
        inode, size, mode = self._plant(listing)
        self.entry = trees.encode_entry(inode, size, mode)

    def _plant(self, node: dict[str, Any]) -> tuple[int, int, int]:
        """Give a node of the listing, and everything below it, their inodes; returns (inode, size, mode)."""
        inode = self.last
        self.last += 1
        kind = node.get("type")
        if kind == "regular":
            size = _natural(node.get("size"))
            mode = trees.file_mode(node.get("executable") is True)
            self._files[inode] = (size, mode, _natural(node.get("narOffset")))
            return inode, size, mode
        if kind == "symlink" and isinstance(node.get("target"), str):
            target = node["target"].encode("utf-8", "surrogateescape")
            self._links[inode] = target
            return inode, len(target), trees.MODE_SYMLINK
        if kind == "directory" and isinstance(node.get("entries"), dict):
            entries = []
            named = [(name.encode("utf-8", "surrogateescape"), child) for name, child in node["entries"].items()]
            for name, child in sorted(named, key=lambda pair: pair[0]):
                if not name or name in (b".", b"..") or b"/" in name or len(name) > 255 or not isinstance(child, dict):
                    raise _BadListingError
                entries.append((name, *self._plant(child)))
            self._directories[inode] = trees.encode_directory(inode, entries)
            return inode, 0, trees.MODE_DIRECTORY
        raise _BadListingError

    def directory(self, inode: int) -> bytes | None:
        """The directory record, None if the inode is no directory."""
        return self._directories.get(inode)

    def attributes(self, inode: int) -> bytes:
        """The attribute record."""
        file = self._files.get(inode)
        if file is not None:
            return trees.encode_attr(inode, file[0], file[1])
        link = self._links.get(inode)
        if link is not None:
            return trees.encode_attr(inode, len(link), trees.MODE_SYMLINK)
        return trees.encode_attr(inode, 0, trees.MODE_DIRECTORY)

    def content(self, inode: int) -> bytes | memoryview | None:
        """A link's target, or a file's bytes, None if they are not here yet."""
        link = self._links.get(inode)
        if link is not None:
            return link
        size, _, offset = self._files[inode]
        if not size:
            return b""
        return None if self.bytes is None else self.bytes[offset : offset + size]


class _BadListingError(Exception):
    """A listing that can't be shown."""


def _natural(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise _BadListingError
    return value


class LazyPaths:
    """All paths that a lazy mount has shown and that were not valid then.

    Args:
        store: where paths become valid.
        substitution: fetches closures into it; its sources are asked about paths.
        trust: whose signatures count.
        folder: where NARs are kept while they are needed; on a disk, for they are large.
        prefetch: fetch closures in the background.
    """

    def __init__(
        self, store: LocalStore, substitution: Substitution, trust: Trust, folder: str, *, prefetch: bool = True
    ) -> None:
        self._store = store
        self._substitution = substitution
        self._trust = trust
        self._folder = folder
        self._lock = threading.Lock()
        self._trees: dict[StorePath, LazyTree] = {}
        self._starts: list[int] = []  # the first inodes of `_ordered`, for finding a tree by inode
        self._ordered: list[LazyTree] = []
        self._next = FIRST_INODE
        self._absent: dict[StorePath, float] = {}
        self._discovering: dict[StorePath, threading.Lock] = {}
        self._demand = 0
        self._no_demand = threading.Event()
        self._no_demand.set()
        self._wanted: SimpleQueue[StorePath | None] | None = None
        if prefetch:
            self._wanted = SimpleQueue()
            threading.Thread(target=self._prefetch, name="prefetch", daemon=True).start()

    def close(self) -> None:
        """Let the background thread end after what it is doing."""
        if self._wanted is not None:
            self._wanted.put(None)

    # Answers from memory.

    def owns(self, inode: int) -> bool:
        """Whether an inode is one of these."""
        return inode >= FIRST_INODE

    def find(self, path: StorePath) -> LazyTree | None:
        """The tree of a path, None if it was not discovered."""
        return self._trees.get(path)

    def is_absent(self, path: StorePath) -> bool:
        """Whether no cache knew the path a moment ago."""
        until = self._absent.get(path)
        return until is not None and time.monotonic() < until

    def directory(self, inode: int) -> bytes | None:
        """A directory's record, None if it is none of these."""
        return self._tree_of(inode).directory(inode) if inode >= FIRST_INODE else None

    def attributes(self, inode: int) -> bytes | None:
        """An inode's attribute record, None if it is none of these."""
        return self._tree_of(inode).attributes(inode) if inode >= FIRST_INODE else None

    def content(self, inode: int) -> bytes | memoryview | None:
        """A file's bytes or a link's target, None if they have to be fetched."""
        return self._tree_of(inode).content(inode)

    def path_of(self, inode: int) -> StorePath:
        """The store path that an inode belongs to."""
        return self._tree_of(inode).path

    def _tree_of(self, inode: int) -> LazyTree:
        return self._ordered[bisect_right(self._starts, inode) - 1]

    # What waits.

    def discover(self, path: StorePath) -> None:
        """Find out whether a cache knows a path, and what its tree is.

        Raises:
            StoreError: a cache knows it, but nobody trusted vouches for it, or its tree can't be had.
        """
        with self._lock:
            lock = self._discovering.setdefault(path, threading.Lock())
        with lock:
            if path in self._trees or self.is_absent(path):
                return
            with self._demanding():
                answer = query(self._substitution.sources, [path]).get(path)
                if answer is None:
                    self._absent[path] = time.monotonic() + _ABSENT_FOR
                    return
                source, narinfo = answer
                self._trust.check(narinfo.info, source.uri, source_is_trusted=source.is_trusted)
                listing = source.listing(path) if isinstance(source, BinaryCache) else None
                data = None
                if listing is None:
                    data, listing = self._download(path, source, narinfo)
                self._add(path, source, narinfo, listing, data)
        if self._wanted is not None:
            self._wanted.put(path)

    def _add(
        self, path: StorePath, source: Source, narinfo: NarInfo, listing: dict[str, Any], data: memoryview | None
    ) -> None:
        with self._lock:
            try:
                tree = LazyTree(path, source, narinfo, listing, self._next)
            except (_BadListingError, RecursionError):
                raise BadSubstituteError(f"'{source.uri}' has a malformed listing of '{path.base_name}'") from None
            tree.bytes = data
            self._next = tree.last
            self._ordered.append(tree)
            self._starts.append(tree.first)
            self._trees[path] = tree

    def fetch(self, inode: int) -> None:
        """Fetch the NAR of the path that an inode belongs to, and check it.

        Raises:
            StoreError: it can't be had, or is not what was promised.
        """
        tree = self._tree_of(inode)
        with tree.lock:
            if tree.bytes is not None:
                return
            with self._demanding():
                log(INFO, f"fetching path '{tree.path.base_name}' from '{tree.source.uri}', which is being read...")
                data, listing = self._download(tree.path, tree.source, tree.narinfo)
            if listing != tree.listing:
                raise BadSubstituteError(
                    f"the listing of '{tree.path.base_name}' in '{tree.source.uri}' is not that of its contents"
                )
            tree.bytes = data

    def _download(self, path: StorePath, source: Source, narinfo: NarInfo) -> tuple[memoryview, dict[str, Any]]:
        """Bring a NAR into memory that is a file, and check it; returns it with its listing."""
        info = narinfo.info
        hasher = Hasher("sha256")
        try:
            with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                # The background thread may have been faster: then the bytes are here already.
                if self._store.is_valid(path):
                    self._write(file.fileno(), self._store.nar(path), hasher, info.nar_size, path, source)
                else:
                    with source.open_nar(narinfo) as pieces:
                        self._write(file.fileno(), pieces, hasher, info.nar_size, path, source)
                if hasher.size != info.nar_size or hasher.finish() != info.nar_hash:
                    expected, got = (each.to_string("base32", True) for each in (info.nar_hash, hasher.finish()))
                    raise BadSubstituteError(
                        f"hash mismatch fetching path '{path.base_name}' from '{source.uri}';\n"
                        f"  specified: {expected}\n  got:       {got}"
                    )
                # The mapping outlives the descriptor, and nobody else can shorten the file.
                data = memoryview(mmap.mmap(file.fileno(), info.nar_size, prot=mmap.PROT_READ))
        except OSError as error:
            raise SystemRefusedError(f"keeping '{path.base_name}' while it is read", error) from error
        root = list_nar(ByteReader(data[at : at + _PIECE] for at in range(0, len(data), _PIECE)))["root"]
        return data, root

    def _write(
        self, fd: int, pieces: Iterator[bytes], hasher: Hasher, limit: int, path: StorePath, source: Source
    ) -> None:
        for piece in pieces:
            hasher.update(piece)
            if hasher.size > limit:
                raise BadSubstituteError(
                    f"path '{path.base_name}' from '{source.uri}' is larger than the {limit} bytes promised"
                )
            view = memoryview(piece)
            while view:
                written = os.write(fd, view)
                if not written:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                view = view[written:]

    # In the background.

    def _demanding(self) -> _Demand:
        return _Demand(self)

    def change_demand(self, change: int) -> None:
        """Count who waits at the moment; the background thread lets them go first."""
        with self._lock:
            self._demand += change
            if self._demand:
                self._no_demand.clear()
            else:
                self._no_demand.set()

    def _prefetch(self) -> None:
        assert self._wanted is not None
        substitution = self._substitution
        substitution.pause_before_each = lambda: self._no_demand.wait(30.0)
        while (path := self._wanted.get()) is not None:
            if self._store.is_valid(path):
                continue
            try:
                substitution.fetch_all([path])
            except SubstitutionError as error:
                # It stays readable through the mount; it is only not valid.
                warn(f"the closure of '{path.base_name}' could not be fetched: {error}")
            except StoreError as error:
                warn(str(error))
            if self._wanted.empty():
                # A mount lives long, and what it fetched may be collected as if somebody else had.
                self._store.release_temp_roots()


class _Demand:
    """Counts one who waits, for the length of a `with` block."""

    __slots__ = ("_paths",)

    def __init__(self, paths: LazyPaths) -> None:
        self._paths = paths

    def __enter__(self) -> None:
        self._paths.change_demand(1)

    def __exit__(self, *_: object) -> None:
        self._paths.change_demand(-1)
