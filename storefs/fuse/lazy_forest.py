"""The `Forest` of a lazy mount: trees of valid paths, and beside them trees of paths that a cache knows.

Wraps another forest and one `LazyPaths`, which all forests of a mount share. What is not here yet raises
`NotHereYetError` with what to wait for; the transport asks again afterwards. Valid paths are answered as ever.
"""

from __future__ import annotations

from storefs.formats.store_path import BadStorePath, StorePath
from storefs.fuse.view import GoneError, NotHereYetError
from storefs.metadata import trees
from storefs.metadata.entry_search import find_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.fuse.forest import MetadataForest
    from storefs.fuse.view import Inode, Record
    from storefs.stores.lazy import LazyPaths


class LazyForest:
    """See the module; the methods are those of `view.Forest`. One object serves one thread.

    Args:
        base: the valid paths.
        lazy: the others; may be shared by threads.
    """

    def __init__(self, base: MetadataForest, lazy: LazyPaths) -> None:
        self._base = base
        self._lazy = lazy
        self.folder = base.folder
        self.blob_path = base.blob_path
        self.is_in_place = base.is_in_place
        self.end = base.end
        self.forget_directories = base.forget_directories
        self.names = base.names
        self.recent = base.recent

    def find_path(self, name: bytes) -> Record | None:
        """Return the entry record of a store path, valid or known to a cache."""
        entry = self._base.find_path(name)
        if entry is not None:
            return entry
        try:
            path = StorePath(name.decode("ascii", "replace"))
        except BadStorePath:
            return None
        tree = self._lazy.find(path)
        if tree is None:
            if self._lazy.is_absent(path):
                return None
            self._base.end()  # no snapshot is held while the network is asked
            raise NotHereYetError(lambda: self._lazy.discover(path))
        return tree.entry

    def paths(self, after: int) -> Iterator[tuple[int, bytes, Record]]:
        """Yield valid paths: caches do not tell what they have."""
        return self._base.paths(after)

    def find_entry(self, directory: Inode, name: bytes) -> Record | None:
        """Return the entry record of a name in a directory."""
        record = self._lazy.directory(directory)
        if record is None:
            return self._base.find_entry(directory, name)
        position = find_entry(record, name)
        return None if position is None else record[position : position + trees.ENTRY_SIZE]

    def entries(self, directory: Inode) -> tuple[Record, memoryview]:
        """Return a directory's entries and their positions."""
        record = self._lazy.directory(directory)
        if record is None:
            return self._base.entries(directory)
        return record[trees.entries_start(record) :], trees.entry_offsets(record)

    def attributes(self, inode: Inode) -> Record:
        """Return the attribute record of an inode."""
        found = self._lazy.attributes(inode)
        return self._base.attributes(inode) if found is None else found

    def content(self, inode: Inode) -> tuple[Record | None, bytes, int]:
        """Return a file's bytes, or those of a symbolic link; fetched and checked before the first byte is shown."""
        if not self._lazy.owns(inode):
            return self._base.content(inode)
        content = self._lazy.content(inode)
        if content is None:
            if self._lazy.is_refuted(inode):
                raise GoneError  # and a walk along a link starts again, with what is shown now
            registered = self._find_registered(inode)
            if registered is not None:
                return self._base.content(registered)
            raise NotHereYetError(lambda: self._lazy.fetch(inode))
        return content, b"", len(content)

    def _find_registered(self, inode: Inode) -> Inode | None:
        """Return the inode of the same file in the valid path, None if there is none (any more)."""
        place = self._lazy.registered(inode)
        if place is None:
            return None
        path, names = place
        entry = self._base.find_path(path.base_name.encode())
        for name in names:
            if entry is None:
                return None
            entry = self._base.find_entry(int.from_bytes(entry[:8], "little"), name)
        return None if entry is None else int.from_bytes(entry[:8], "little")

    def children(self, inode: Inode) -> list[tuple[Inode, bool]] | None:
        """Return (inode, whether it is a directory) of a directory's entries, None for anything else."""
        return None if self._lazy.owns(inode) else self._base.children(inode)

    def uses(self, inode: Inode) -> int:
        """Return how many names a regular file has."""
        return 1 if self._lazy.owns(inode) else self._base.uses(inode)

    def sharing(self, directory: Inode) -> tuple[bytes, int]:
        """Return what a directory has in common with others, and how many they are with itself."""
        return (b"", 1) if self._lazy.owns(directory) else self._base.sharing(directory)

    def name_containing(self, inode: Inode) -> bytes | None:
        """Return the name of a store path whose tree has this inode. Slow."""
        if self._lazy.owns(inode):
            return self._lazy.path_of(inode).base_name.encode()
        return self._base.name_containing(inode)
