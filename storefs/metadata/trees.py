"""Directory and node records: how a tree lies in the database so that an answer to the kernel is a slice of it.

Pure functions over bytes; they know neither LMDB nor FUSE sockets, but the kernel's structures of fuse.h (7.31 and
later, little-endian) are laid out here once.  `storefs.metadata.path_infos` writes them, the mount and the stores read.

A *directory record* (database ``dirs``, key: inode; or ``listings``, see listings.py) is

    u32 number of entries, u32 zero
    fuse_attr of the directory itself                                         (88 bytes)
    u32 offset of each entry, relative to the first entry; padded to 8 bytes
    one fuse_direntplus per entry, sorted bytewise by name: fuse_entry_out (40), fuse_attr (88), fuse_dirent (24),
        the name, zeros up to a multiple of 8. ``off`` of an entry is the offset of the next one.

so a readdirplus reply is the slice from ``off`` to the last entry that fits, and a look-up's reply is the first 128
bytes of an entry.  A *node record* (database ``nodes``, key: inode) is

    one byte: INLINE, BLOB or SYMLINK
    fuse_attr                                                                 (88 bytes)
    the contents, or the 32-byte BLAKE3 digest that names the blob, or the target

Metadata are canonical: modes 0444, 0555 and 0777, owner 0, times 1, link count 1 (on a directory: "not counted").
Validity is the largest the kernel takes, since nothing below the root ever changes.
"""

from __future__ import annotations

from _struct import Struct, pack
from _struct import error as struct_error  # type: ignore[attr-defined]

import cython

from storefs.errors import StoreError

if cython.compiled:
    from cython.cimports.storefs.metadata.trees import verglas_encode_directory, verglas_encode_node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeVar

    Record = bytes | memoryview
    R = TypeVar("R", bytes, memoryview, bytes | memoryview)

Inode = int

ROOT_INODE = 1  # of the mount: the store directory itself, which has no record
FIRST_INODE = 16  # the first that is ever given to a tree

INLINE = 0x49  # b"I"
BLOB = 0x42  # b"B"
SYMLINK = 0x4C  # b"L"

MODE_REGULAR = 0o100444
MODE_EXECUTABLE = 0o100555
MODE_DIRECTORY = 0o040555
MODE_SYMLINK = 0o120777

ATTR_SIZE = 88
ENTRY_SIZE = 128  # fuse_entry_out with its fuse_attr: the reply to a look-up
ENTRY_HEAD = ENTRY_SIZE - ATTR_SIZE  # bytes of it before the fuse_attr
NAME_LENGTH = 144  # offset of the length of the name in an entry of a directory record
LONGEST_NAME = 255  # bytes: NAME_MAX
DIRENT_NAME = 152  # offset of the name in an entry of a directory record
NODE_PAYLOAD = 1 + ATTR_SIZE
DIRECTORY_OFFSETS = 8 + ATTR_SIZE

# Seconds. The kernel turns them into jiffies; the prototype showed that 2**64-1 overflows to "expired at once".
FOREVER = 0xFFFFFFFFFFFF >> 8

_ENTRY = Struct("<4QII" + "6Q10I")
_ATTR_HEAD = Struct("<QQQ")  # of a fuse_attr: inode, size, blocks
_DIRENT_HEAD = Struct("<Q32sQQQ64s")  # of a fuse_direntplus: inode, what is always the same, a fuse_attr
_DIRENT_TAIL = Struct("<QQII")  # inode, offset of the next, length of the name, type
_DIRENT_FIELDS = Struct("<Q40xQ44xI40xI")  # of a _DIRENT: inode, size, mode, length of the name
_NODE_FIELDS = Struct("<BQQ44xI24x")  # of a node record: kind, inode, size, mode
_INODE_AND_MODE = Struct("<Q92xI")  # of a _DIRENT, too
_ZEROS = bytes(8)


def _attr_tail(mode: int) -> bytes:
    """Of a fuse_attr what follows the size and the blocks."""
    return pack("<3Q10I", 1, 1, 1, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


_TAILS = {mode: _attr_tail(mode) for mode in (MODE_REGULAR, MODE_EXECUTABLE, MODE_DIRECTORY, MODE_SYMLINK)}
_VALIDITY = pack("<3QII", 0, FOREVER, FOREVER, 0, 0)  # of a fuse_entry_out what follows the inode


class CorruptTreeError(StoreError):
    """A directory or node record is not what was written."""


class TreeDamagedError(StoreError):
    """A tree lacks a row or a blob, or one of them is not what was written."""


def encode_attr(inode: Inode, size: int, mode: int) -> bytes:
    """The kernel's fuse_attr of an object with canonical metadata."""
    return _ATTR_HEAD.pack(inode, size, (size + 511) >> 9) + (_TAILS.get(mode) or _attr_tail(mode))


def encode_entry(inode: Inode, size: int, mode: int) -> bytes:
    """The kernel's fuse_entry_out, the reply to a look-up that succeeded."""
    blocks = (size + 511) >> 9
    return _ENTRY.pack(
        inode, 0, FOREVER, FOREVER, 0, 0, inode, size, blocks, 1, 1, 1, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0
    )


def encode_dirent(inode: Inode, size: int, mode: int, name: bytes, offset: int) -> bytes:
    """A fuse_direntplus; ``offset`` is that of the entry itself, the next one's follows from its length."""
    length = len(name)
    padding = -length & 7
    head = _DIRENT_HEAD.pack(inode, _VALIDITY, inode, size, (size + 511) >> 9, _TAILS.get(mode) or _attr_tail(mode))
    tail = _DIRENT_TAIL.pack(inode, offset + DIRENT_NAME + length + padding, length, mode >> 12)
    return head + tail + name + _ZEROS[:padding]


def encode_directory(inode: Inode, entries: Iterable[tuple[bytes, Inode, int, int]]) -> bytes:
    """A directory record of (name, inode, size, mode) entries, which the caller has sorted by name."""
    if cython.compiled:
        record: bytes = verglas_encode_directory(inode, list(entries), MODE_DIRECTORY, FOREVER)
        return record
    records = []
    offsets = []
    offset = 0
    for name, child, size, mode in entries:
        entry = encode_dirent(child, size, mode, name, offset)
        records.append(entry)
        offsets.append(offset)
        offset += len(entry)
    count = len(records)
    head = pack("<II", count, 0) + encode_attr(inode, 0, MODE_DIRECTORY) + pack(f"<{count}I", *offsets)
    return b"".join((head, _ZEROS[: 4 * (count & 1)], *records))


def entry_count(record: Record) -> int:
    """How many entries a directory record has."""
    return int.from_bytes(record[:4], "little")


def entries_start(record: Record) -> int:
    """The position of the first entry in a directory record, to which offsets are relative."""
    return DIRECTORY_OFFSETS + ((4 * int.from_bytes(record[:4], "little") + 7) & ~7)


def entry_offsets(record: Record) -> memoryview:
    """The offsets of the entries, as native unsigned ints (little-endian machines only, as the whole layout)."""
    end = DIRECTORY_OFFSETS + 4 * entry_count(record)
    return memoryview(record)[DIRECTORY_OFFSETS:end].cast("I")


def entry_at(record: Record, position: int) -> tuple[bytes, Inode, int, int]:
    """The (name, inode, size, mode) of the entry at ``position``."""
    inode, size, mode, length = _DIRENT_FIELDS.unpack_from(record, position)
    return bytes(record[position + DIRENT_NAME : position + DIRENT_NAME + length]), inode, size, mode


def decode_directory(record: Record) -> list[tuple[bytes, Inode, int, int]]:
    """The (name, inode, size, mode) entries of a directory record in order.

    Raises CorruptTreeError when the record's lengths do not fit together.
    """
    total = len(record)
    if total < DIRECTORY_OFFSETS or total < entries_start(record):
        raise CorruptTreeError("a directory record in the database is cut short")
    record = bytes(record)  # so that its slices are
    start = entries_start(record)
    fields = _DIRENT_FIELDS.unpack_from
    result = []
    expected = 0
    for offset in entry_offsets(record):
        position = start + offset
        name = position + DIRENT_NAME
        if offset != expected or name > total:
            raise CorruptTreeError("a directory record in the database has a wrong offset table")
        inode, size, mode, length = fields(record, position)
        if name + length > total or length > LONGEST_NAME:
            raise CorruptTreeError("a directory record in the database has an impossible name")
        result.append((record[name : name + length], inode, size, mode))
        # Every entry begins at a multiple of eight, because `start` does.
        expected = (offset + DIRENT_NAME + length + 7) & ~7
    if start + expected != total:
        raise CorruptTreeError("a directory record in the database is longer than its entries")
    return result


def decode_inodes(record: Record, first: int = 0, stop: int | None = None) -> list[tuple[Inode, int]]:
    """The (inode, mode) of entries: what taking a tree down needs, at a fraction of `decode_directory`'s price.

    Of every one, or of those from position ``first`` to before ``stop``.

    Raises ValueError or struct.error for a record that was cut.
    """
    from itertools import repeat  # noqa: PLC0415  0.1 ms that queries do without

    entries = memoryview(record)[entries_start(record) :]
    return list(map(_INODE_AND_MODE.unpack_from, repeat(entries), entry_offsets(record)[first:stop]))


def file_mode(executable: bool) -> int:
    """The canonical mode of a regular file."""
    return MODE_EXECUTABLE if executable else MODE_REGULAR


def encode_inline(inode: Inode, executable: bool, content: bytes | memoryview) -> bytes:
    """The node record of a small regular file."""
    return _encode_node(INLINE, inode, len(content), file_mode(executable), content)


def encode_blob(inode: Inode, executable: bool, size: int, digest: bytes) -> bytes:
    """The node record of a regular file whose contents are a blob file."""
    return _encode_node(BLOB, inode, size, file_mode(executable), digest)


def encode_symlink(inode: Inode, target: bytes) -> bytes:
    """The node record of a symbolic link."""
    return _encode_node(SYMLINK, inode, len(target), MODE_SYMLINK, target)


def _encode_node(kind: int, inode: Inode, size: int, mode: int, payload: bytes | memoryview) -> bytes:
    if cython.compiled:
        record: bytes = verglas_encode_node(kind, inode, size, mode, payload)
        return record
    return b"".join((bytes((kind,)), encode_attr(inode, size, mode), payload))


def node_kind(record: Record) -> int:
    """INLINE, BLOB or SYMLINK; raises CorruptTreeError for anything else."""
    if len(record) < NODE_PAYLOAD or record[0] not in (INLINE, BLOB, SYMLINK):
        raise CorruptTreeError("a file record in the database is damaged")
    return record[0]


def node_fields(record: Record) -> tuple[int, int, int, int]:
    """The kind, inode, size and mode at once; raises CorruptTreeError for a record that is too short to have them."""
    try:
        return _NODE_FIELDS.unpack_from(record)
    except struct_error as error:
        raise CorruptTreeError("a file record in the database is damaged") from error


def node_attr(record: R) -> R:
    """The node's fuse_attr."""
    return record[1:NODE_PAYLOAD]


def node_payload(record: R) -> R:
    """The contents, the digest or the target, depending on the kind."""
    return record[NODE_PAYLOAD:]


def inline_content(record: bytes | None) -> bytes | None:
    """The contents of a small regular file; None if they are somewhere else, or the record is missing or damaged."""
    return record[NODE_PAYLOAD:] if record and record[0] == INLINE and len(record) >= NODE_PAYLOAD else None


def node_size(record: Record) -> int:
    """The size of the file in bytes, or the length of the target."""
    return int.from_bytes(record[9:17], "little")


def node_mode(record: Record) -> int:
    """The node's mode with its type bits."""
    return int.from_bytes(record[1 + 60 : 1 + 64], "little")
