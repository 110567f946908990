"""Paths that are not here but that a cache knows: shown as soon as they are looked up, fetched when they are read.

For a lazy mount. A path's tree comes from the cache's `.ls` listing, or from its NAR where there is none. When one of
its files is read or a link followed for the first time, the whole NAR is fetched into an unlinked file, compared with
the signed hash and with the listing, and only then shown: files are slices of that NAR. Meanwhile a thread of its own
fetches the closure of everything that was looked up, references first, and registers it. From then on look-ups find the
valid path, and who has files open from before reads those of the valid one: the NAR is given up. Nobody signs listings:
one that is not that of the contents is refuted, and the path shown as it is.

Caches are tried in turn, as in every substitution. While one that may have a path can't be asked, nobody is told that
the path does not exist.

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
from storefs.stores.binary_cache import BadCacheError, BinaryCache
from storefs.stores.copying import BadSubstituteError
from storefs.stores.lazy_tree import BadListingError, LazyTree
from storefs.stores.offer_query import query
from storefs.stores.substitution import SubstitutionError
from storefs.stores.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from storefs.formats.narinfo import NarInfo
    from storefs.formats.store_path import StorePath
    from storefs.stores.copying import Trust
    from storefs.stores.local import LocalStore
    from storefs.stores.offer_query import Source
    from storefs.stores.substitution import Substitution

FIRST_INODE = 1 << 62  # far above every inode of a registered tree
_ABSENT_FOR = 10.0  # seconds for which a name that no cache knows is not asked about again
_PIECE = 1 << 20


class CacheRestsError(StoreError):
    """Nobody can tell whether a path exists: a cache that may have it failed a moment ago."""


class LazyPaths:
    """All paths that a lazy mount has shown and that were not valid then.

    Args:
        store: where paths become valid.
        substitution: fetches closures into it; its sources are asked about paths.
        trust: whose signatures count.
        folder: where NARs are kept while they are needed; on a disk, for they are large.
        prefetch: fetch closures in the background.

    Attributes:
        when_refuted: called, in any thread, with a path that was shown as it is not and from now on will be.
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
        self._discovering: dict[StorePath, Turn] = {}
        self._demand = 0
        self._no_demand = threading.Event()
        self._no_demand.set()
        self._wanted: SimpleQueue[StorePath | None] | None = None
        self.when_refuted: Callable[[StorePath], object] = lambda path: None
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

    def is_refuted(self, inode: int) -> bool:
        """Whether an inode was made up by a listing that was not that of the contents."""
        return self._tree_of(inode).is_refuted

    def registered(self, inode: int) -> tuple[StorePath, list[bytes]] | None:
        """The path and the names that lead to an inode, if the path has become valid with the contents that it has."""
        tree = self._tree_of(inode)
        return (tree.path, tree.names(inode)) if tree.is_registered else None

    def path_of(self, inode: int) -> StorePath:
        """The store path that an inode belongs to."""
        return self._tree_of(inode).path

    def _tree_of(self, inode: int) -> LazyTree:
        return self._ordered[bisect_right(self._starts, inode) - 1]

    # What waits.

    def discover(self, path: StorePath) -> None:
        """Find out whether a cache knows a path, and what its tree is.

        Raises:
            StoreError: caches know it, but nobody trusted vouches for it, or its tree can't be had; or one that may
                know it can't be asked.
        """
        with self._lock:
            turn = self._discovering.setdefault(path, Turn())
        with turn:
            if path in self._trees or self.is_absent(path):
                return
            with self._demanding():
                if not self._show_offered(path):
                    return
        if self._wanted is not None:
            self._wanted.put(path)

    def _offers(self, path: StorePath) -> Iterator[tuple[Source, NarInfo]]:
        """Yield who has a path, and what they say; the next one is asked only if it is wanted."""
        sources = list(self._substitution.sources)
        while (answer := query(sources, [path]).get(path)) is not None:
            yield answer
            sources.remove(answer[0])

    def _show_offered(self, path: StorePath) -> bool:
        """Show a path that some cache has, and return True; remember that none has it, unless that is not known."""
        failure: StoreError | None = None
        for source, narinfo in self._offers(path):
            if failure is not None:
                warn(str(failure))
            try:
                self._show(path, source, narinfo)
                return True
            except StoreError as error:
                failure = error
        if failure is not None:
            raise failure
        for source in self._substitution.sources:
            if source.is_resting():
                raise CacheRestsError(
                    f"'{source.uri}', which may have '{path.base_name}', can't be asked at the moment"
                )
        self._absent[path] = time.monotonic() + _ABSENT_FOR
        return False

    def _show(self, path: StorePath, source: Source, narinfo: NarInfo) -> None:
        """Show a path that a cache has."""
        self._trust.check(narinfo.info, source.uri, source_is_trusted=source.is_trusted)
        if isinstance(source, BinaryCache):
            try:
                listing = source.listing(path)
                if listing is not None:
                    self._add(path, source, narinfo, listing, None)
                    return
            except BadCacheError as error:
                warn(str(error))
        data, listing = self._download(path, source, narinfo)
        self._add(path, source, narinfo, listing, data)

    def _add(
        self, path: StorePath, source: Source, narinfo: NarInfo, listing: dict[str, Any], data: memoryview | None
    ) -> None:
        with self._lock:
            try:
                tree = LazyTree(path, source, narinfo, listing, self._next)
            except (BadListingError, RecursionError, UnicodeEncodeError):
                raise BadCacheError(f"'{source.uri}' has a malformed listing of '{path.base_name}'") from None
            tree.bytes = data
            self._next = tree.last
            self._ordered.append(tree)
            self._starts.append(tree.first)
            self._trees[path] = tree

    def fetch(self, inode: int) -> None:
        """Fetch the NAR of the path that an inode belongs to, and check it; it may refute the listing.

        Raises:
            StoreError: it can't be had, or is not what was promised.
        """
        tree = self._tree_of(inode)
        with tree.turn:
            if tree.bytes is not None or tree.is_refuted:
                return
            with self._demanding():
                log(INFO, f"fetching path '{tree.path.base_name}' from '{tree.source.uri}', which is being read...")
                data, listing = self._download_again(tree)
            if listing != tree.listing:
                # Shown from now on as it is, which is not as its listing said.
                self._add(tree.path, tree.source, tree.narinfo, listing, data)
                self._refute(tree)
            else:
                tree.bytes = data

    def _download_again(self, tree: LazyTree) -> tuple[memoryview, dict[str, Any]]:
        """Download the contents of a path that was shown, from whoever has the same."""
        try:
            return self._download(tree.path, tree.source, tree.narinfo)
        except StoreError as error:
            failure = error
        for source, narinfo in self._offers(tree.path):
            if source is not tree.source and narinfo.info.nar_hash == tree.narinfo.info.nar_hash:
                warn(str(failure))
                try:
                    return self._download(tree.path, source, narinfo)
                except StoreError as error:
                    failure = error
        raise failure

    def _refute(self, tree: LazyTree) -> None:
        warn(f"the listing of '{tree.path.base_name}' in '{tree.source.uri}' is not that of its contents")
        tree.is_refuted = True
        with self._lock:
            if self._trees.get(tree.path) is tree:
                del self._trees[tree.path]
        self.when_refuted(tree.path)

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
            try:
                if not self._store.is_valid(path):
                    substitution.fetch_all([path])
                self._compare(path)
            except SubstitutionError as error:
                # It stays readable through the mount; it is only not valid.
                warn(f"the closure of '{path.base_name}' could not be fetched: {error}")
            except StoreError as error:
                warn(str(error))
            if self._wanted.empty():
                # A mount lives long, and what it fetched may be collected as if somebody else had.
                self._store.release_temp_roots()

    def _compare(self, path: StorePath) -> None:
        """Compare a path that is valid now with what was shown of it, of which names, sizes and modes may be all.

        If it is the same, whoever has one of its files open is served from the store.
        """
        tree, info = self._trees.get(path), self._store.find_path_info(path)
        if tree is None or info is None:
            return
        with tree.turn.lock:
            if tree.is_refuted:
                return
            if tree.bytes is None and list_nar(ByteReader(self._store.nar(path)))["root"] != tree.listing:
                self._refute(tree)
            elif info.nar_hash == tree.narinfo.info.nar_hash:
                tree.is_registered = True
                tree.bytes = None


class _Demand:
    """Counts one who waits, for the length of a `with` block."""

    __slots__ = ("_paths",)

    def __init__(self, paths: LazyPaths) -> None:
        self._paths = paths

    def __enter__(self) -> None:
        self._paths.change_demand(1)

    def __exit__(self, *_: object) -> None:
        self._paths.change_demand(-1)
