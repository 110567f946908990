"""What the store looks like as a read-only file system. Knows neither FUSE nor LMDB.

A `Forest` (the metadata, injected) holds trees as ready-made records; a `View` says what a name, an inode or a range
of bytes means, and keeps what is still in use of paths that were collected. Transports (`kernel.py`, `operations.py`)
translate between it and the kernel. Everything beneath the root is immutable: what was answered once holds for ever.
Only the root changes, so it is read in a fresh snapshot each time.

The attribute and entry records that pass through here are opaque; `storefs.metadata.trees` describes their layout.

Threads: one thread serves a view. What is about held files, and `statistics`, may be called from one other thread
meanwhile; that touches only dictionaries, one operation at a time.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Protocol

    Record = bytes | memoryview
    Inode = int

    class Copies(Protocol):
        """Of directories, by inode. Only the forest fills them and only a transport looks into them."""

        def clear(self) -> None:
            """Drop all copies. Any thread."""

    class Forest(Protocol):
        """Where trees come from.

        The first question takes a fresh snapshot, which the following ones share until `end`. Records are valid until
        then, and no longer.
        """

        @property
        def folder(self) -> str:
            """The host directory in which everything is kept."""

        @property
        def recent(self) -> Copies:
            """Copies of directories, which `find_entry` looks into first: names may be looked up there without it."""

        def is_in_place(self) -> bool:
            """Whether the metadata still lies in `folder`, and not something else or nothing in its place."""

        def end(self) -> None:
            """Let go of the snapshot, if there is one, and of every record got from it."""

        def forget_directories(self) -> None:
            """Drop copies of directories that are kept for speed: some may have been collected. Any thread."""

        def find_path(self, name: bytes) -> Record | None:
            """Return the entry record of the store path `name`, None if it is not valid."""

        def paths(self, after: int) -> Iterator[tuple[int, bytes, Record]]:
            """Yield (position, name, entry) of the valid paths beyond a position, 0 for all.

            Positions are from 1 to 2**61 and keep their meaning across snapshots, whatever comes and goes.
            """

        def find_entry(self, directory: Inode, name: bytes) -> Record | None:
            """Return the entry record of a name in a directory, None if there is none.

            Raises:
                GoneError: there is no such directory (any more).
            """

        def entries(self, directory: Inode) -> tuple[Record, memoryview]:
            """Return a directory's entries, ready to be sent, and the position of each in them.

            Raises:
                GoneError: there is no such directory (any more).
            """

        def attributes(self, inode: Inode) -> Record:
            """Return the attribute record of an inode.

            Raises:
                GoneError: there is no such inode (any more).
            """

        def content(self, inode: Inode) -> tuple[Record | None, bytes, int]:
            """Return a regular file's (bytes, b"", size), or (None, blob digest, size); or a symbolic link's target.

            Raises:
                GoneError: there is no such file (any more).
            """

        def blob_path(self, digest: bytes) -> str:
            """Return the host path of a blob."""

        def children(self, inode: Inode) -> list[tuple[Inode, bool]] | None:
            """Return (inode, whether it is a directory) of a directory's entries, None for anything else."""

        def names(self, directory: Inode) -> list[tuple[bytes, Inode]]:
            """Return (name, inode) of a directory's entries, none if it is gone."""

        def uses(self, inode: Inode) -> int:
            """Return how many names a regular file has, in all trees whose records are there.

            Those in directories that share their entries count once.
            """

        def sharing(self, directory: Inode) -> tuple[bytes, int]:
            """Return the key of the entries that a directory shares, and how many do; nothing and 1 for its own."""

        def name_containing(self, inode: Inode) -> bytes | None:
            """Return the name of a store path whose tree has this inode. Slow: for messages."""


ROOT: Inode = 1


class GoneError(Exception):
    """The object was collected while somebody still knew its inode number."""


class AbsentError(Exception):
    """A name was looked up that a collected directory never had. To be told, and not to be remembered."""


class NotHereYetError(Exception):
    """The answer has to be fetched first. Only the forests of lazy mounts raise it, in any of their methods.

    Attributes:
        wait: fetches it, blocking, in any thread; raises StoreError if that fails. Afterwards one asks again.
    """

    def __init__(self, wait: Callable[[], None]) -> None:
        super().__init__("it has to be fetched first")
        self.wait = wait


class CorruptBlobError(Exception):
    """A blob is missing or has another size than was registered. Carries the inode and what is wrong."""

    def __init__(self, inode: Inode, reason: str) -> None:
        super().__init__(reason)
        self.inode = inode


class OpenBlob:
    """A blob's descriptor; closed when nobody refers to it any more, so that a reader in a thread is never cut off."""

    __slots__ = ("fd", "size")

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size

    def __del__(self) -> None:
        os.close(self.fd)


class View:
    """The file system.

    Args:
        forest: the metadata, used by the serving thread alone.
        open_blobs: how many blob descriptors are kept open.
    """

    def __init__(self, forest: Forest, *, open_blobs: int = 512) -> None:
        self._forest = forest
        self._open_blobs = open_blobs
        self._blobs: dict[Inode, OpenBlob] = {}
        self._held: dict[Inode, tuple[bytes, bytes | OpenBlob]] = {}
        self._closed: dict[Inode, frozenset[bytes] | None] = {}
        self.blob_hits = 0
        self.blob_misses = 0
        self.release = forest.end
        self.recent = forest.recent

    def lookup(self, parent: Inode, name: bytes) -> Record | None:
        """Return the entry record of `name`, None if there is none. Valid until `release`.

        Below the root, None may be remembered for ever.

        Raises:
            GoneError: `parent` was collected.
            AbsentError: it was collected, and this name was never in it.
        """
        if parent == ROOT:
            return self._forest.find_path(name)
        if self._closed and parent in self._closed:
            names = self._closed.get(parent)
            raise GoneError if names is None or name in names else AbsentError
        entry = self._forest.find_entry(parent, name)
        if self._closed and parent in self._closed:
            self.recent.clear()  # it was closed, and copies were dropped, while this one was made
        return entry

    def attributes(self, inode: Inode) -> Record:
        """Return the attribute record of any inode but the root. Valid until `release`.

        Raises:
            GoneError: it was collected, and was not in use then.
        """
        if self._held:  # first: its record may be there still, its blob gone already
            held = self._held.get(inode)
            if held is not None:
                return held[0]
        return self._forest.attributes(inode)

    def entries(self, directory: Inode) -> tuple[Record, memoryview]:
        """Return the entries of a directory other than the root, and their positions. Valid until `release`.

        Raises:
            GoneError: it was collected.
        """
        if self._closed and directory in self._closed:
            raise GoneError
        return self._forest.entries(directory)

    def paths(self, after: int) -> Iterator[tuple[int, bytes, Record]]:
        """Yield the root's entries beyond a position in a fresh snapshot. Valid until `release`."""
        return self._forest.paths(after)

    def symlink(self, inode: Inode) -> Record:
        """Return the target of a symbolic link. Valid until `release`.

        Raises:
            GoneError: it was collected, and was not in use then.
        """
        content, _ = self.content(inode)
        assert content is not None, "a symbolic link has no blob"
        return content

    def content(self, inode: Inode) -> tuple[Record | None, OpenBlob | None]:
        """Return all bytes of a small file, valid until `release`, or the open blob of a large one.

        Raises:
            GoneError: it was collected, and was not in use then.
            CorruptBlobError: its blob is missing or has the wrong size.
        """
        blob = self._blobs.get(inode)
        if blob is not None:
            self.blob_hits += 1
            return None, blob
        if self._held:
            held = self._held.get(inode)
            if held is not None:
                return (None, held[1]) if isinstance(held[1], OpenBlob) else (held[1], None)
        forest = self._forest
        content, digest, size = forest.content(inode)
        if content is not None:
            return content, None
        self.blob_misses += 1
        blob = _open_blob(forest, inode, digest, size)
        if len(self._blobs) >= self._open_blobs:
            # Half at once, the oldest: exact recency would cost every hit, a scan of many files evicts all anyway.
            for old in list(self._blobs)[: self._open_blobs // 2]:
                del self._blobs[old]
        self._blobs[inode] = blob
        return None, blob

    def space(self) -> os.statvfs_result:
        """Return what statvfs(3) says about the file system that holds the blobs.

        It is also how programs ask whether this mount can be used: see `storefs.stores.mount_table.is_alive`.

        Raises:
            GoneError: the state was deleted or replaced; this mount shows what nobody else knows any more.
            OSError: it can't be told.
        """
        if not self._forest.is_in_place():
            raise GoneError
        return os.statvfs(self._forest.folder)

    def hold(self, inodes: Iterable[Inode], lost: Mapping[Inode, int], forest: Forest) -> set[Inode]:
        """Keep the bytes of files that are about to lose their last name, before records and blobs are removed.

        Args:
            inodes: files and symbolic links; unknown ones are skipped.
            lost: how many names each of them loses. Those that keep another one need not be held.
            forest: the calling thread's own source of records.

        Returns:
            those that are held now because of this call.
        """
        held = set()
        for inode in inodes:
            try:
                if forest.uses(inode) <= lost[inode]:
                    content, digest, size = forest.content(inode)
                    kept = _open_blob(forest, inode, digest, size) if content is None else bytes(content)
                    self._held[inode] = (bytes(forest.attributes(inode)), kept)
                    held.add(inode)
            except (GoneError, CorruptBlobError):
                continue
            finally:
                forest.end()
        return held

    def held_inodes(self) -> list[Inode]:
        """Return what is held."""
        return list(self._held)

    def let_go(self, inode: Inode) -> None:
        """Hold a file no longer."""
        self._held.pop(inode, None)

    def close_directories(self, directories: Mapping[Inode, frozenset[bytes] | None]) -> None:
        """Look nothing up in these directories any more: their trees are about to go.

        Args:
            directories: and the names in them, where those are known. Who makes something new in one of them then
                learns that the file system is read-only, as everywhere; mkdir(2) does not walk again, as open(2) does.
        """
        self._closed = {**self._closed, **directories}
        self._forest.forget_directories()

    def closed_directories(self) -> list[Inode]:
        """Return what `close_directories` was told, without those that were reopened."""
        return list(self._closed)

    def reopen_directory(self, directory: Inode) -> None:
        """Leave it to the forest again to know about a directory."""
        self._forest.forget_directories()
        self._closed.pop(directory, None)

    def close_blobs(self) -> None:
        """Close descriptors that are kept for speed only: they would keep the disk space of removed blobs."""
        self._blobs.clear()

    def close(self) -> None:
        """Let go of everything: blobs, and what is held."""
        self.release()
        self.close_blobs()
        self._held.clear()

    def statistics(self) -> dict[str, int]:
        """Return counters, by name."""
        return {
            "blob descriptor hits": self.blob_hits,
            "blob descriptor misses": self.blob_misses,
            "blob descriptors open": len(self._blobs),
            "collected files held": len(self._held),
            "collected directories": len(self._closed),
        }

    def store_path_of(self, inode: Inode, forest: Forest) -> str:
        """Return the name of a store path that contains the inode, for a message. Slow.

        Args:
            inode: any.
            forest: the calling thread's own source of records.
        """
        try:
            name = forest.name_containing(inode)
        finally:
            forest.end()
        return "(not found)" if name is None else name.decode(errors="replace")


def _open_blob(forest: Forest, inode: Inode, digest: bytes, size: int) -> OpenBlob:
    path = forest.blob_path(digest)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise CorruptBlobError(inode, f"its bytes can't be read from '{path}': {error.strerror}") from error
    blob = OpenBlob(fd, size)
    actual = os.fstat(fd).st_size
    if actual != size:
        raise CorruptBlobError(inode, f"'{path}' has {actual} bytes instead of {size}")
    return blob
