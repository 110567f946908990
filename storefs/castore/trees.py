"""A tree between having been read and being registered: its shape in memory, its contents in an intake area.

Of a large one, parts are in the database already: `StoredNode`, which a directory record of its own holds until the
tree is registered (stores/staging.py).  Plain values without I/O.  Made by castore/ingest.py, written to the database
by metadata/tree_writer.py.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from storefs.formats.hashes import Hash

    Node: TypeAlias = "FileNode | LinkNode | DirectoryNode | StoredNode"


class FileNode:
    """A regular file. ``key`` is its BLAKE3 digest and one byte, 1 if it is executable; ``size`` in bytes."""

    __slots__ = ("key", "size")

    def __init__(self, key: bytes, size: int) -> None:
        self.key = key
        self.size = size

    @property
    def executable(self) -> bool:
        """Whether the executable bit is set."""
        return self.key[32] == 1

    @property
    def digest(self) -> bytes:
        """The BLAKE3 digest of the contents."""
        return self.key[:32]


class LinkNode:
    """A symbolic link."""

    __slots__ = ("target",)

    def __init__(self, target: bytes) -> None:
        self.target = target


class StoredNode:
    """Whatever has its rows already: a file, a link, or a directory with all that is beneath it."""

    __slots__ = ("inode", "mode", "size")

    def __init__(self, inode: int, size: int, mode: int) -> None:
        self.inode = inode
        self.size = size
        self.mode = mode


class DirectoryNode:
    """A directory; ``entries`` are sorted bytewise by name.

    The first ``stored`` of them are StoredNodes, which the directory records with the inodes ``holders`` hold.
    """

    __slots__ = ("entries", "holders", "stored")

    def __init__(self) -> None:
        self.entries: list[tuple[bytes, FileNode | LinkNode | DirectoryNode | StoredNode]] = []
        self.stored = 0
        self.holders: tuple[int, ...] = ()


class IngestedTree:
    """A whole tree, with the hash and size of its NAR. Implements `storefs.api.Tree`.

    If its root is a StoredNode, the directory record with the inode ``holder`` holds it.
    """

    __slots__ = ("holder", "nar_hash", "nar_size", "root")

    def __init__(self, root: FileNode | LinkNode | DirectoryNode, nar_hash: Hash, nar_size: int) -> None:
        self.root: FileNode | LinkNode | DirectoryNode | StoredNode = root
        self.nar_hash = nar_hash
        self.nar_size = nar_size
        self.holder = 0


def file_key(digest: bytes, executable: bool) -> bytes:
    """The key by which equal files are found."""
    return digest + (b"\1" if executable else b"\0")
