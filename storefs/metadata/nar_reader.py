"""The NAR of a registered tree, straight from records and blobs to bytes: the inner loop of verifying and exporting.

Without events or objects for each file, because hashing a gigabyte takes less time than making those for its files.
`storefs.metadata.tree_reader` is the way in.
"""

from __future__ import annotations

import os

from storefs.castore.blobs import BlobError
from storefs.errors import StoreError
from storefs.formats.nar import (
    DIRECTORY_NODE,
    DIRECTORY_OPENS,
    ENTRY_CLOSES,
    ENTRY_OPENS,
    EXECUTABLE_OPENS,
    REGULAR_OPENS,
    ROOT_HEAD,
    closing,
    entry_head,
    link_node,
    padding,
    regular_node,
)
from storefs.metadata import trees
from storefs.metadata.schema import KEY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.castore.blobs import BlobStore
    from storefs.formats.byte_reader import Buffer
    from storefs.metadata.environment import Environment

_NODES_AT_ONCE = 64  # at most 1 MiB of small contents is held
_BATCH = 128 << 10  # bytes: stays in the processor's cache between being copied and being hashed
_SMALL_PIECES = 4096


class TreeDamagedError(StoreError):
    """A tree lacks a row or a blob, or one of them is not what was written."""


class _Frame:
    """An open directory and how much of it has been read."""

    __slots__ = ("entries", "position")

    def __init__(self, entries: list[tuple[bytes, int, int, int]]) -> None:
        self.entries = entries
        self.position = 0


def nar_buffers(env: Environment, blobs: BlobStore, root: int) -> Iterator[Buffer]:
    """Yield the NAR of the tree at ``root``; a piece is overwritten when the next one is asked for.

    Raises TreeDamagedError for missing and damaged rows and missing blobs, also when the tree is collected meanwhile.
    """
    try:
        with env.snapshot() as txn:
            node = txn.get(KEY.pack(root), db=env.nodes)
        if node is None:
            yield from _directory(env, blobs, root)
        else:
            yield from _single(blobs, node)
    except trees.CorruptTreeError as error:
        raise TreeDamagedError(str(error)) from error


def _single(blobs: BlobStore, node: bytes) -> Iterator[Buffer]:
    """A tree that is one file or link."""
    kind = trees.node_kind(node)
    payload = trees.node_payload(node)
    if kind == trees.SYMLINK:
        yield b"".join((ROOT_HEAD, link_node(payload), closing(False)))
        return
    size = trees.node_size(node)
    yield ROOT_HEAD + regular_node(trees.node_mode(node) == trees.MODE_EXECUTABLE, size)
    if kind == trees.BLOB:
        yield from _blob(blobs, payload, size, memoryview(bytearray(_BATCH)))
    elif len(payload) == size:
        yield payload
    else:
        raise TreeDamagedError("a file record in the database has a wrong size")
    yield padding(size) + closing(False)


def _directory(env: Environment, blobs: BlobStore, root: int) -> Iterator[Buffer]:
    buffer = memoryview(bytearray(_BATCH))
    pieces = [ROOT_HEAD, DIRECTORY_NODE]
    size = 0  # of the contents among the pieces
    stack = [_Frame(_entries(env, root))]
    while stack:
        group = _fetch(env, stack[-1])
        if not group:
            stack.pop()
            pieces.append(closing(bool(stack)))
        for name, inode, node in group:
            length = len(name)
            if node is None:
                pieces += (ENTRY_OPENS[length], name, DIRECTORY_OPENS[length & 7])
                stack.append(_Frame(_entries(env, inode)))
                break  # it is the last of its group
            kind, count, mode = trees.node_fields(node)
            if kind == trees.SYMLINK:
                pieces += (entry_head(name), link_node(trees.node_payload(node)), closing(True))
                continue
            opens = EXECUTABLE_OPENS if mode == trees.MODE_EXECUTABLE else REGULAR_OPENS
            pieces += (ENTRY_OPENS[length], name, opens[length & 7], count.to_bytes(8, "little"))
            if kind == trees.INLINE:
                if len(node) != trees.NODE_PAYLOAD + count:
                    raise TreeDamagedError("a file record in the database has a wrong size")
                pieces += (node[trees.NODE_PAYLOAD :], ENTRY_CLOSES[count & 7])
                size += count
            elif kind == trees.BLOB:
                yield b"".join(pieces)
                yield from _blob(blobs, node[trees.NODE_PAYLOAD :], count, buffer)
                pieces = [ENTRY_CLOSES[count & 7]]
                size = 0
            else:
                raise TreeDamagedError("a file record in the database is damaged")
            if size >= _BATCH:
                yield b"".join(pieces)
                pieces = []
                size = 0
        if len(pieces) >= _SMALL_PIECES:
            yield b"".join(pieces)
            pieces = []
            size = 0
    yield b"".join(pieces)


def _entries(env: Environment, inode: int) -> list[tuple[bytes, int, int, int]]:
    with env.snapshot() as txn:
        record = txn.get(KEY.pack(inode), db=env.dirs)
    if record is None:
        raise TreeDamagedError(f"the store database lacks the directory number {inode}")
    return list(trees.decode_directory(record))


def _fetch(env: Environment, frame: _Frame) -> list[tuple[bytes, int, bytes | None]]:
    """The next (name, inode, node) of a directory, at most up to a subdirectory, which has None for a node.

    So deep trees hold no contents.
    """
    group: list[tuple[bytes, int, bytes | None]] = []
    start = frame.position
    key = KEY.pack
    nodes = env.nodes
    with env.snapshot() as txn:
        get = txn.get
        for name, inode, _, mode in frame.entries[start : start + _NODES_AT_ONCE]:
            if mode == trees.MODE_DIRECTORY:
                group.append((name, inode, None))
                break
            node = get(key(inode), None, nodes)
            if node is None:
                raise TreeDamagedError(f"the store database lacks the file number {inode}")
            group.append((name, inode, node))
    frame.position = start + len(group)
    return group


def _blob(blobs: BlobStore, digest: bytes, length: int, buffer: memoryview) -> Iterator[memoryview]:
    fd = blobs.open(digest)
    left = length
    try:
        while True:
            count = os.readv(fd, [buffer])
            left -= count
            if not count or left < 0:
                break
            yield buffer[:count]
    except OSError as error:
        raise BlobError(f"the contents '{blobs.path(digest)}' can't be read: {error.strerror}") from error
    finally:
        os.close(fd)
    if left:
        raise TreeDamagedError(f"the contents '{blobs.path(digest)}' do not have {length} bytes")
