"""The NAR of a registered tree, straight from records and blobs to bytes: the inner loop of verifying and exporting.

Without events or objects for each file, because hashing a gigabyte takes less time than making those for its files.
Compiled (MODULES in setup.py).  `storefs.metadata.tree_reader` is the way in.
"""

from __future__ import annotations

import os

import cython

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
from storefs.metadata.listings import find_directory
from storefs.metadata.schema import KEY
from storefs.metadata.trees import TreeDamagedError

if cython.compiled:
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcpy
    from cython.cimports.storefs.metadata.nar_reader import PyMemoryView_GET_BUFFER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.castore.blobs import BlobStore
    from storefs.formats.byte_reader import Buffer
    from storefs.metadata.environment import Environment
    from storefs.metadata.trees import Record

_NODES_AT_ONCE = 64  # at most 1 MiB of small contents is held
_BATCH = 128 << 10  # bytes: stays in the processor's cache between being copied and being hashed
_KIND, _INODE, _SIZE, _MODE, _HEAD = 0, 1, 9, 61, trees.NODE_PAYLOAD  # where a node record has them
_FRAMING = 1024  # bytes: more than is around a file's contents or a link's target, its name included


class _Output:
    """What is ready of an archive: the first ``used`` bytes of a buffer that is written anew when they were taken."""

    def __init__(self) -> None:
        self.data = bytearray(_BATCH + _FRAMING)
        self.used = 0

    def make_room(self, size: cython.Py_ssize_t) -> None:
        """Before so many bytes are put."""
        if self.used + size > len(self.data):
            # A new one: somebody may look at the old one still, and that cannot grow then.
            self.data = self.data[: self.used] + bytearray(size + _BATCH)

    def put(self, piece: bytes) -> None:
        """Add a piece."""
        size = len(piece)
        if cython.compiled:
            memcpy(PyByteArray_AS_STRING(self.data) + self.used, PyBytes_AS_STRING(piece), size)
        else:
            self.data[self.used : self.used + size] = piece
        self.used += size

    def put_number(self, number: cython.ulonglong) -> None:
        """Add a size, as it precedes contents."""
        if cython.compiled:
            memcpy(PyByteArray_AS_STRING(self.data) + self.used, cython.address(number), 8)
        else:
            self.data[self.used : self.used + 8] = number.to_bytes(8, "little")
        self.used += 8

    def put_payload(self, node: Record) -> None:
        """Add what a node record has behind its head."""
        size = len(node) - _HEAD
        if cython.compiled:
            memcpy(
                PyByteArray_AS_STRING(self.data) + self.used,
                cython.cast(cython.p_char, PyMemoryView_GET_BUFFER(node).buf) + _HEAD,
                size,
            )
        else:
            self.data[self.used : self.used + size] = node[_HEAD:]
        self.used += size

    def take(self) -> memoryview:
        """All of it, until something is put again."""
        taken = memoryview(self.data)[: self.used]
        self.used = 0
        return taken


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
    output: _Output = _Output()
    output.put(ROOT_HEAD)
    output.put(DIRECTORY_NODE)
    stack = [_Frame(_entries(env, root))]
    while stack:
        if output.used >= _BATCH:
            yield output.take()
        output.make_room(_FRAMING)
        frame: _Frame = stack[len(stack) - 1]
        if frame.position == len(frame.entries):
            stack.pop()
            output.put(closing(bool(stack)))
            continue
        name, inode, _, mode = frame.entries[frame.position]
        if mode == trees.MODE_DIRECTORY:
            frame.position += 1
            length = len(name)
            output.put(ENTRY_OPENS[length])
            output.put(name)
            output.put(DIRECTORY_OPENS[length & 7])
            stack.append(_Frame(_entries(env, inode)))
            continue
        found = _files(env, frame, output)
        if not found:
            continue
        ready = output.take()
        start = 0
        for position, digest, size in found:
            yield ready[start:position]
            yield from _blob(blobs, digest, size, buffer)
            start = position
        yield ready[start:]
    yield output.take()


def _entries(env: Environment, inode: int) -> list[tuple[bytes, int, int, int]]:
    with env.snapshot() as txn:
        record = find_directory(env, txn, inode)
    if record is None:
        raise TreeDamagedError(f"the store database lacks the directory number {inode}")
    return trees.decode_directory(record)


def _files(env: Environment, frame: _Frame, output: _Output) -> list[tuple[int, bytes, int]]:
    """Pass over some files and links of a directory, up to the next subdirectory, and put their part of the NAR.

    Contents that are a blob are left out: returns the position, digest and size of each.  So many at once that the
    snapshot ends soon.
    """
    found: list[tuple[int, bytes, int]] = []
    group = frame.entries[frame.position : frame.position + _NODES_AT_ONCE]
    with env.snapshot(buffers=True) as txn:
        cursor = txn.cursor(env.nodes)
        following: Iterator[Record] = iter(())  # the rows of a directory mostly lie one behind the other
        for name, inode, _, entry_mode in group:
            if entry_mode == trees.MODE_DIRECTORY:
                break
            if output.used >= _BATCH:
                break
            node = next(following, b"")
            if len(node) < _HEAD or _number(node, _INODE, 8) != inode:
                if not cursor.set_key(KEY.pack(inode)):
                    raise TreeDamagedError(f"the store database lacks the file number {inode}")
                following = cursor.iternext(keys=False)
                node = next(following)
                if len(node) < _HEAD:
                    raise TreeDamagedError("a file record in the database is damaged")
            output.make_room(len(node) + _FRAMING)
            frame.position += 1
            kind = _number(node, _KIND, 1)
            if kind == trees.SYMLINK:
                output.put(entry_head(name) + link_node(bytes(node[_HEAD:])) + closing(True))
                continue
            if kind not in (trees.INLINE, trees.BLOB):
                raise TreeDamagedError("a file record in the database is damaged")
            length = len(name)
            output.put(ENTRY_OPENS[length])
            output.put(name)
            executable = _number(node, _MODE, 4) == trees.MODE_EXECUTABLE
            output.put(EXECUTABLE_OPENS[length & 7] if executable else REGULAR_OPENS[length & 7])
            count = _number(node, _SIZE, 8)
            output.put_number(count)
            if kind == trees.BLOB:
                found.append((output.used, bytes(node[_HEAD:]), count))
            elif len(node) != _HEAD + count:
                raise TreeDamagedError("a file record in the database has a wrong size")
            else:
                output.put_payload(node)
            output.put(ENTRY_CLOSES[count & 7])
    return found


def _number(record: Record, at: cython.Py_ssize_t, size: cython.Py_ssize_t) -> int:
    """A number that lies within a record."""
    if cython.compiled:
        number: cython.ulonglong = 0
        memcpy(cython.address(number), cython.cast(cython.p_char, PyMemoryView_GET_BUFFER(record).buf) + at, size)
        return number  # type: ignore[no-any-return]
    return int.from_bytes(record[at : at + size], "little")


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
