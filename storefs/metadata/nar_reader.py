"""The NAR of a registered tree, straight from records and blobs to bytes: the inner loop of verifying and exporting.

Without events or objects for each file, because hashing a gigabyte takes less time than making those for its files.
`storefs.metadata.tree_reader` is the way in.
"""

from __future__ import annotations

import os

from storefs.castore.blobs import BlobError
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
from storefs.metadata.trees import TreeDamagedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.castore.blobs import BlobStore
    from storefs.formats.byte_reader import Buffer
    from storefs.metadata.environment import Environment

_NODES_AT_ONCE = 64  # at most 1 MiB of small contents is held
_BATCH = 128 << 10  # bytes: stays in the processor's cache between being copied and being hashed
_SMALL_PIECES = 4096
_NONE = (0, 0, 0, 0)  # what is known of a row that is none


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
        frame = stack[-1]
        if frame.position == len(frame.entries):
            stack.pop()
            pieces.append(closing(bool(stack)))
            continue
        name, inode, _, mode = frame.entries[frame.position]
        if mode == trees.MODE_DIRECTORY:
            frame.position += 1
            length = len(name)
            pieces += (ENTRY_OPENS[length], name, DIRECTORY_OPENS[length & 7])
            stack.append(_Frame(_entries(env, inode)))
            continue
        for part in _files(env, frame):
            if isinstance(part, bytes):
                pieces.append(part)
                size += len(part)
                if size < _BATCH and len(pieces) < _SMALL_PIECES:
                    continue
                yield b"".join(pieces)
            else:
                digest, length = part
                yield b"".join(pieces)
                yield from _blob(blobs, digest, length, buffer)
            pieces = []
            size = 0
    yield b"".join(pieces)


def _entries(env: Environment, inode: int) -> list[tuple[bytes, int, int, int]]:
    with env.snapshot() as txn:
        record = txn.get(KEY.pack(inode), db=env.dirs)
    if record is None:
        raise TreeDamagedError(f"the store database lacks the directory number {inode}")
    return trees.decode_directory(record)


def _files(env: Environment, frame: _Frame) -> list[bytes | tuple[bytes, int]]:
    """Pass over some files and links of a directory, up to the next subdirectory, and return their part of the NAR.

    For contents that are a blob stand its digest and size.  So many at once that the snapshot ends soon.
    """
    parts: list[bytes | tuple[bytes, int]] = []
    pieces: list[Buffer] = []
    size = 0
    group = frame.entries[frame.position : frame.position + _NODES_AT_ONCE]
    head, fields = trees.NODE_PAYLOAD, trees.node_fields
    with env.snapshot(buffers=True) as txn:
        cursor = txn.cursor(env.nodes)
        following: Iterator[bytes | memoryview] = iter(())  # the rows of a directory mostly lie one behind the other
        for name, inode, _, entry_mode in group:
            if entry_mode == trees.MODE_DIRECTORY:
                break
            node = next(following, b"")
            kind, found, count, mode = fields(node) if len(node) >= head else _NONE
            if found != inode:
                if not cursor.set_key(KEY.pack(inode)):
                    raise TreeDamagedError(f"the store database lacks the file number {inode}")
                following = cursor.iternext(keys=False)
                node = next(following)
                kind, _, count, mode = fields(node)
            frame.position += 1
            length = len(name)
            if kind == trees.INLINE:
                if len(node) != head + count:
                    raise TreeDamagedError("a file record in the database has a wrong size")
                opens = (EXECUTABLE_OPENS if mode == trees.MODE_EXECUTABLE else REGULAR_OPENS)[length & 7]
                closes = ENTRY_CLOSES[count & 7]
                pieces += (ENTRY_OPENS[length], name, opens, count.to_bytes(8, "little"), node[head:], closes)
                size += count
                if size >= _BATCH:
                    parts.append(b"".join(pieces))
                    pieces = []
                    size = 0
            elif kind == trees.BLOB:
                opens = (EXECUTABLE_OPENS if mode == trees.MODE_EXECUTABLE else REGULAR_OPENS)[length & 7]
                pieces += (ENTRY_OPENS[length], name, opens, count.to_bytes(8, "little"))
                parts += (b"".join(pieces), (bytes(node[head:]), count))
                pieces = [ENTRY_CLOSES[count & 7]]
                size = 0
            elif kind == trees.SYMLINK:
                pieces += (entry_head(name), link_node(bytes(node[head:])), closing(True))
            else:
                raise TreeDamagedError("a file record in the database is damaged")
        # Nothing that leads into the map outlives the snapshot.
        parts.append(b"".join(pieces))
    return parts


def _blob(blobs: BlobStore, digest: bytes, length: int, buffer: memoryview) -> Iterator[memoryview]:
    fd = blobs.open(digest)
    left = length
    room = len(buffer)
    try:
        while left >= 0:
            count = os.readv(fd, [buffer])
            left -= count
            if count and left >= 0:
                yield buffer[:count]
            if count < room:
                break  # that was the end
    except OSError as error:
        raise BlobError(f"the contents '{blobs.path(digest)}' can't be read: {error.strerror}") from error
    finally:
        os.close(fd)
    if left:
        raise TreeDamagedError(f"the contents '{blobs.path(digest)}' do not have {length} bytes")
