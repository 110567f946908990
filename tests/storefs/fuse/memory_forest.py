"""A `Forest` in dictionaries: the fake that the view's tests use. It passes the same contract as the real one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Union

from storefs.fuse.view import GoneError
from storefs.metadata import trees
from storefs.metadata.entry_search import RecentDirectories, find_entry

Tree = Union[bytes, str, dict[bytes, "Tree"]]  # contents, symbolic link target, directory


class MemoryForest:
    """Paths are planted from nested values; large contents become blobs in `folder`."""

    def __init__(self, folder: str, inline_limit: int = 16) -> None:
        self.folder = folder
        self._inline_limit = inline_limit
        self._inodes = itertools.count(16)
        self._paths: dict[bytes, int] = {}
        self._dirs: dict[int, bytes] = {}
        self._nodes: dict[int, bytes] = {}
        self.recent = RecentDirectories()  # which stays empty
        self.snapshots = 0
        self._open = False

    def plant(self, name: bytes, tree: Tree) -> int:
        root = self._add(tree)[0]
        self._paths[name] = root
        return root

    def fell(self, name: bytes) -> int:
        """Make a path invalid and remove its records."""
        root = self._paths.pop(name)
        for inode in [root, *self._beneath(root)]:
            self._dirs.pop(inode, None)
            self._nodes.pop(inode, None)
        return root

    def _beneath(self, inode: int) -> list[int]:
        found = []
        for child, _ in self.children(inode) or ():
            found += [child, *self._beneath(child)]
        return found

    def _add(self, tree: Tree) -> tuple[int, int, int]:
        inode = next(self._inodes)
        if isinstance(tree, dict):
            entries = [(name, *self._add(child)) for name, child in sorted(tree.items())]
            self._dirs[inode] = trees.encode_directory(inode, entries)
            return inode, 0, trees.MODE_DIRECTORY
        if isinstance(tree, str):
            self._nodes[inode] = trees.encode_symlink(inode, tree.encode())
            return inode, len(tree), trees.MODE_SYMLINK
        executable = tree.startswith(b"#!")
        if len(tree) <= self._inline_limit:
            self._nodes[inode] = trees.encode_inline(inode, executable, tree)
        else:
            digest = inode.to_bytes(32, "big")
            with open(self.blob_path(digest), "wb") as file:
                file.write(tree)
            self._nodes[inode] = trees.encode_blob(inode, executable, len(tree), digest)
        return inode, len(tree), trees.file_mode(executable)

    def is_in_place(self) -> bool:
        return os.path.isdir(self.folder)

    def end(self) -> None:
        self._open = False

    def forget_directories(self) -> None:
        pass

    def _snapshot(self) -> None:
        self.snapshots += not self._open
        self._open = True

    def find_path(self, name: bytes) -> bytes | None:
        self._snapshot()
        inode = self._paths.get(name)
        return None if inode is None else self._entry(inode)

    def paths(self, after: int) -> Iterator[tuple[int, bytes, bytes]]:
        self._snapshot()
        for name, inode in sorted(self._paths.items(), key=lambda item: item[1]):
            if inode > after:
                yield inode, name, self._entry(inode)

    def find_entry(self, directory: int, name: bytes) -> bytes | None:
        record = self._directory(directory)
        position = find_entry(record, name)
        return None if position is None else record[position : position + trees.ENTRY_SIZE]

    def entries(self, directory: int) -> tuple[bytes, memoryview]:
        record = self._directory(directory)
        return record[trees.entries_start(record) :], trees.entry_offsets(record)

    def attributes(self, inode: int) -> bytes:
        self._snapshot()
        if inode in self._nodes:
            return trees.node_attr(self._nodes[inode])
        return self._directory(inode)[8 : trees.DIRECTORY_OFFSETS]

    def content(self, inode: int) -> tuple[bytes | None, bytes, int]:
        self._snapshot()
        record = self._nodes.get(inode)
        if record is None:
            raise GoneError
        if trees.node_kind(record) == trees.BLOB:
            return None, trees.node_payload(record), trees.node_size(record)
        return trees.node_payload(record), b"", 0

    def children(self, inode: int) -> list[tuple[int, bool]] | None:
        record = self._dirs.get(inode)
        if record is None:
            return None
        return [(child, mode == trees.MODE_DIRECTORY) for child, mode in trees.decode_inodes(record)]

    def names(self, directory: int) -> list[tuple[bytes, int]]:
        record = self._dirs.get(directory)
        return [] if record is None else [(name, inode) for name, inode, _, _ in trees.decode_directory(record)]

    def uses(self, inode: int) -> int:
        return 1

    def sharing(self, directory: int) -> tuple[bytes, int]:
        return b"", 1

    def blob_path(self, digest: bytes) -> str:
        return f"{self.folder}/{digest.hex()}"

    def name_containing(self, inode: int) -> bytes | None:
        for name, root in self._paths.items():
            if inode == root or inode in self._beneath(root):
                return name
        return None

    def _directory(self, inode: int) -> bytes:
        self._snapshot()
        record = self._dirs.get(inode)
        if record is None:
            raise GoneError
        return record

    def _entry(self, inode: int) -> bytes:
        return trees.encode_entry(inode, 0, 0)[:40] + self.attributes(inode)
