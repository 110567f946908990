"""Reading registered trees without a mount: look-ups, listings, contents and NARs, straight from rows and blobs.

Snapshots are taken for a moment at a time, so a tree that is collected meanwhile ends the reading with an error, never
with wrong bytes.  For the stores and the commands that read through them; the mount has its own, faster way.
"""

from __future__ import annotations

from storefs.metadata import trees
from storefs.metadata.entry_search import find_entry
from storefs.metadata.listings import find_directory
from storefs.metadata.schema import KEY
from storefs.metadata.trees import TreeDamagedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from storefs.castore.blobs import BlobStore
    from storefs.formats.byte_reader import Buffer
    from storefs.metadata.environment import Environment, Transaction


class TreeEntry:
    """One object of a tree: its name, inode, mode with type bits, and size (contents, or length of the target)."""

    __slots__ = ("inode", "mode", "name", "size")

    def __init__(self, name: bytes, inode: int, size: int, mode: int) -> None:
        self.name = name
        self.inode = inode
        self.size = size
        self.mode = mode

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.mode == trees.MODE_DIRECTORY

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode == trees.MODE_SYMLINK


class TreeReader:
    """Reads trees of one environment and its blobs; usable from any thread."""

    __slots__ = ("_blobs", "_env")

    def __init__(self, env: Environment, blobs: Callable[[], BlobStore]) -> None:
        """``blobs`` opens the blob files; it is asked when a file is large, or a whole tree is read."""
        self._env = env
        self._blobs = blobs

    def entry(self, inode: int, name: bytes = b"") -> TreeEntry:
        """What ``inode`` is; raises TreeDamagedError where it is nothing."""
        key = KEY.pack(inode)
        with self._env.snapshot() as txn:
            node = txn.get(key, db=self._env.nodes)
            if node is None and txn.get(key, db=self._env.dirs) is None:
                raise TreeDamagedError(f"the store database lacks the file or directory number {inode}")
        if node is None:
            return TreeEntry(name, inode, 0, trees.MODE_DIRECTORY)
        return TreeEntry(name, inode, trees.node_size(node), trees.node_mode(node))

    def find(self, root: int, path: bytes) -> TreeEntry | None:
        """The object at the relative ``path`` below ``root``, without following links; None where there is none."""
        entry = self.entry(root)
        for name in path.split(b"/"):
            if name in (b"", b"."):
                continue
            if not entry.is_directory:
                return None
            record = self._directory(entry.inode)
            position = find_entry(record, name)
            if position is None:
                return None
            entry = TreeEntry(*trees.entry_at(record, position))
        return entry

    def entries(self, inode: int) -> list[TreeEntry]:
        """The entries of a directory, sorted bytewise by name; raises TreeDamagedError."""
        return [TreeEntry(*fields) for fields in self.listing(inode)]

    def listing(self, inode: int) -> list[tuple[bytes, int, int, int]]:
        """The (name, inode, size, mode) of what `entries` returns, for whoever reads thousands of directories."""
        return trees.decode_directory(self._directory(inode))

    def target(self, inode: int) -> bytes:
        """The target of a symbolic link."""
        return bytes(trees.node_payload(self.node(inode)))

    def pieces(self, inode: int) -> Iterator[bytes]:
        """Yield the contents of a regular file; raises TreeDamagedError, or BlobError where the blob is missing."""
        return self.pieces_of(self.node(inode))

    def read(self, inode: int) -> bytes:
        """The whole contents of a regular file."""
        return b"".join(self.pieces(inode))

    def nar(self, root: int) -> Iterator[bytes]:
        """Yield the NAR of the tree at ``root`` in large pieces, and small ones where a large file begins or ends."""
        return map(bytes, self.nar_buffers(root))

    def nar_buffers(self, root: int) -> Iterator[Buffer]:
        """Like ``nar`` without a copy of large files: a piece is overwritten when the next one is asked for."""
        from storefs.metadata.nar_reader import nar_buffers  # noqa: PLC0415  who reads one file needs no archives

        return nar_buffers(self._env, self._blobs(), root)

    def with_nodes(self, entries: list[TreeEntry]) -> list[tuple[TreeEntry, bytes | None]]:
        """Entries of one directory with their records, read in one snapshot; None for directories."""
        result: list[tuple[TreeEntry, bytes | None]] = []
        with self._env.snapshot() as txn:
            for entry in entries:
                result.append((entry, None if entry.is_directory else self._node_in(txn, entry.inode)))
        return result

    def _directory(self, inode: int) -> bytes:
        with self._env.snapshot() as txn:
            record = find_directory(self._env, txn, inode)
        if record is None:
            raise TreeDamagedError(f"the store database lacks the directory number {inode}")
        return record

    def node(self, inode: int) -> bytes:
        """The record of a file or link, see `trees`; raises TreeDamagedError where there is none."""
        with self._env.snapshot() as txn:
            return self._node_in(txn, inode)

    def _node_in(self, txn: Transaction, inode: int) -> bytes:
        record = txn.get(KEY.pack(inode), db=self._env.nodes)
        if record is None:
            raise TreeDamagedError(f"the store database lacks the file number {inode}")
        return record

    def pieces_of(self, node: bytes) -> Iterator[bytes]:
        """Yield the contents of the regular file with this record."""
        size = trees.node_size(node)
        payload = trees.node_payload(node)
        if trees.node_kind(node) == trees.INLINE:
            if len(payload) != size:
                raise TreeDamagedError("a file record in the database has a wrong size")
            if size:
                yield payload
            return
        left = size
        blobs = self._blobs()
        for piece in blobs.read(payload):
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise TreeDamagedError(f"the contents '{blobs.path(payload)}' do not have {size} bytes")
