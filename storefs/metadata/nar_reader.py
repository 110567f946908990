"""The NAR of a registered tree, straight from records and blobs to bytes: the inner loop of verifying and exporting.

Without events or objects for each file, because hashing a gigabyte takes less time than making those for its files.
`storefs.metadata.tree_reader` is the way in.
"""

from __future__ import annotations

import os

from storefs.castore.blobs import BlobError
from storefs.errors import StoreError
from storefs.formats.nar import DIRECTORY_NODE, ROOT_HEAD, closing, entry_head, link_node, padding, regular_node
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
    """An open directory: entries still to be fetched, and the few that were, last first."""

    __slots__ = ("entries", "position", "ready")

    def __init__(self, entries: list[tuple[bytes, int, int, int]]) -> None:
        self.entries = entries
        self.position = 0
        self.ready: list[tuple[bytes, int, bytes]] = []  # name, inode, node record or nothing for a directory


def nar_buffers(env: Environment, blobs: BlobStore, root: int) -> Iterator[Buffer]:
    """Yield the NAR of the tree at ``root``; a piece is overwritten when the next one is asked for.

    Raises TreeDamagedError for missing rows and blobs, also when the tree is collected meanwhile.
    """
    buffer = memoryview(bytearray(_BATCH))
    pieces = [ROOT_HEAD]
    size = 0
    with env.snapshot() as txn:
        node = txn.get(KEY.pack(root), db=env.nodes)
    stack: list[_Frame] = []
    if node is None:
        pieces.append(DIRECTORY_NODE)
        stack.append(_Frame(_entries(env, root)))
    while True:
        if node is None:
            if not stack:
                break
            frame = stack[-1]
            if not frame.ready and not _fetch(env, frame):
                stack.pop()
                pieces.append(closing(bool(stack)))
                continue
            name, inode, node = frame.ready.pop()
            pieces.append(entry_head(name))
            if not node:
                node = None
                pieces.append(DIRECTORY_NODE)
                stack.append(_Frame(_entries(env, inode)))
                continue
        kind = trees.node_kind(node)
        if kind == trees.SYMLINK:
            pieces += (link_node(trees.node_payload(node)), closing(bool(stack)))
        else:
            length = trees.node_size(node)
            pieces.append(regular_node(trees.node_mode(node) == trees.MODE_EXECUTABLE, length))
            if kind == trees.INLINE:
                content = trees.node_payload(node)
                if len(content) != length:
                    raise TreeDamagedError("a file record in the database has a wrong size")
                pieces.append(content)
                size += length
            else:
                yield b"".join(pieces)
                pieces.clear()
                size = 0
                yield from _blob(blobs, trees.node_payload(node), length, buffer)
            pieces += (padding(length), closing(bool(stack)))
        node = None
        if size >= _BATCH or len(pieces) >= _SMALL_PIECES:
            yield b"".join(pieces)
            pieces.clear()
            size = 0
    yield b"".join(pieces)


def _entries(env: Environment, inode: int) -> list[tuple[bytes, int, int, int]]:
    with env.snapshot() as txn:
        record = txn.get(KEY.pack(inode), db=env.dirs)
    if record is None:
        raise TreeDamagedError(f"the store database lacks the directory number {inode}")
    return list(trees.decode_directory(record))


def _fetch(env: Environment, frame: _Frame) -> bool:
    """Fetch the next nodes of a directory, at most up to a subdirectory: so deep trees hold no contents."""
    ready = frame.ready
    entries = frame.entries
    position = frame.position
    nodes = env.nodes
    with env.snapshot() as txn:
        while position < len(entries) and len(ready) < _NODES_AT_ONCE:
            name, inode, _, mode = entries[position]
            position += 1
            if mode == trees.MODE_DIRECTORY:
                ready.append((name, inode, b""))
                break
            node = txn.get(KEY.pack(inode), db=nodes)
            if node is None:
                raise TreeDamagedError(f"the store database lacks the file number {inode}")
            ready.append((name, inode, node))
    frame.position = position
    ready.reverse()
    return bool(ready)


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
