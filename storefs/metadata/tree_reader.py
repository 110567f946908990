"""Reading registered trees without a mount: look-ups, listings, contents and NARs, straight from rows and blobs.

Snapshots are taken for a moment at a time, so a tree that is collected meanwhile ends the reading with an error, never
with wrong bytes.  For the stores and the commands that read through them; the mount has its own, faster way.
"""

from __future__ import annotations

from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink
from storefs.metadata import trees
from storefs.metadata.nar_reader import TreeDamagedError, nar_buffers
from storefs.metadata.schema import KEY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.castore.blobs import BlobStore
    from storefs.formats.byte_reader import Buffer
    from storefs.formats.nar import Event
    from storefs.metadata.environment import Environment

_NODES_AT_ONCE = 64  # at most 1 MiB of small contents is held


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

    def __init__(self, env: Environment, blobs: BlobStore) -> None:
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
            position = trees.find_entry(record, name)
            if position is None:
                return None
            entry = TreeEntry(*trees.entry_at(record, position))
        return entry

    def entries(self, inode: int) -> list[TreeEntry]:
        """The entries of a directory, sorted bytewise by name; raises TreeDamagedError."""
        return [TreeEntry(*fields) for fields in trees.decode_directory(self._directory(inode))]

    def target(self, inode: int) -> bytes:
        """The target of a symbolic link."""
        return bytes(trees.node_payload(self._node(inode)))

    def pieces(self, inode: int) -> Iterator[bytes]:
        """Yield the contents of a regular file; raises TreeDamagedError, or BlobError where the blob is missing."""
        return self._pieces(self._node(inode))

    def read(self, inode: int) -> bytes:
        """The whole contents of a regular file."""
        return b"".join(self.pieces(inode))

    def events(self, root: int) -> Iterator[Event]:
        """Yield the tree at ``root`` as NAR events."""
        entry = self.entry(root)
        if not entry.is_directory:
            yield from self._node_events(b"", self._node(root))
            return
        yield Directory(b"")
        stack = [iter(_in_groups(self.entries(root)))]
        pending: list[list[tuple[TreeEntry, bytes | None]]] = [[]]
        while stack:
            group = pending[-1]
            if not group:
                entries = next(stack[-1], None)
                if entries is None:
                    yield EndDirectory()
                    stack.pop()
                    pending.pop()
                    continue
                group.extend(self._with_nodes(entries))
                group.reverse()
            child, node = group.pop()
            if node is not None:
                yield from self._node_events(child.name, node)
            else:
                yield Directory(child.name)
                stack.append(iter(_in_groups(self.entries(child.inode))))
                pending.append([])

    def nar(self, root: int) -> Iterator[bytes]:
        """Yield the NAR of the tree at ``root`` in large pieces, and small ones where a large file begins or ends."""
        return map(bytes, nar_buffers(self._env, self._blobs, root))

    def nar_buffers(self, root: int) -> Iterator[Buffer]:
        """Like ``nar`` without a copy of large files: a piece is overwritten when the next one is asked for."""
        return nar_buffers(self._env, self._blobs, root)

    def _directory(self, inode: int) -> bytes:
        with self._env.snapshot() as txn:
            record = txn.get(KEY.pack(inode), db=self._env.dirs)
        if record is None:
            raise TreeDamagedError(f"the store database lacks the directory number {inode}")
        return record

    def _node(self, inode: int) -> bytes:
        with self._env.snapshot() as txn:
            record = txn.get(KEY.pack(inode), db=self._env.nodes)
        if record is None:
            raise TreeDamagedError(f"the store database lacks the file number {inode}")
        return record

    def _with_nodes(self, entries: list[TreeEntry]) -> list[tuple[TreeEntry, bytes | None]]:
        result: list[tuple[TreeEntry, bytes | None]] = []
        with self._env.snapshot() as txn:
            for entry in entries:
                node = None
                if not entry.is_directory:
                    node = txn.get(KEY.pack(entry.inode), db=self._env.nodes)
                    if node is None:
                        raise TreeDamagedError(f"the store database lacks the file number {entry.inode}")
                result.append((entry, node))
        return result

    def _node_events(self, name: bytes, node: bytes) -> Iterator[Event]:
        if trees.node_kind(node) == trees.SYMLINK:
            yield Symlink(name, trees.node_payload(node))
            return
        size = trees.node_size(node)
        yield Regular(name, trees.node_mode(node) == trees.MODE_EXECUTABLE, size)
        yield from self._pieces(node)

    def _pieces(self, node: bytes) -> Iterator[bytes]:
        size = trees.node_size(node)
        payload = trees.node_payload(node)
        if trees.node_kind(node) == trees.INLINE:
            if len(payload) != size:
                raise TreeDamagedError("a file record in the database has a wrong size")
            if size:
                yield payload
            return
        left = size
        for piece in self._blobs.read(payload):
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise TreeDamagedError(f"the contents '{self._blobs.path(payload)}' do not have {size} bytes")


def _in_groups(entries: list[TreeEntry]) -> list[list[TreeEntry]]:
    return [entries[start : start + _NODES_AT_ONCE] for start in range(0, len(entries), _NODES_AT_ONCE)]
