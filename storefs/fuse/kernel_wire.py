"""The FUSE wire protocol as values: opcodes, flags, structures. Pure functions over bytes, no I/O.

Used by `kernel.py` and `kernel_device.py` alone. Integers are native-endian on the wire; this project runs on
little-endian machines only and `kernel.py` refuses others. Source: include/uapi/linux/fuse.h of Linux 6.18 (protocol
7.45); structure sizes are stable since 7.12, and everything newer is negotiated in INIT.
"""

from __future__ import annotations

import struct

from storefs.metadata.trees import ATTR_SIZE, ENTRY_SIZE

ROOT = 1

LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK = 1, 2, 3, 4, 5, 6
MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, OPEN, READ, WRITE, STATFS, RELEASE = 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18
FSYNC, SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR, FLUSH, INIT, OPENDIR = 20, 21, 22, 23, 24, 25, 26, 27
READDIR, RELEASEDIR, FSYNCDIR, GETLK, SETLK, SETLKW, ACCESS, CREATE = 28, 29, 30, 31, 32, 33, 34, 35
INTERRUPT, BMAP, DESTROY, IOCTL, POLL, NOTIFY_REPLY, BATCH_FORGET, FALLOCATE = 36, 37, 38, 39, 40, 41, 42, 43
READDIRPLUS, RENAME2, LSEEK, COPY_FILE_RANGE, SETUPMAPPING, REMOVEMAPPING, SYNCFS = 44, 45, 46, 47, 48, 49, 50
TMPFILE, STATX = 51, 52

OPCODES = 64  # what is beyond is unknown

OPCODE_NAMES = {value: name.lower() for name, value in list(globals().items()) if name.isupper() and type(value) is int}
OPCODE_NAMES |= {LOOKUP: "lookup", 0: "unknown"}  # the first one shares its number with ROOT

# Every request that would change something. The kernel stops them at a read-only mount, unless root remounts it.
MUTATING = frozenset({
    SETATTR, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, WRITE, SETXATTR, REMOVEXATTR, CREATE, FALLOCATE,
    RENAME2, COPY_FILE_RANGE, TMPFILE,
})  # fmt: skip
# Requests without an answer: answering one is a protocol error.
SILENT = frozenset((FORGET, BATCH_FORGET, INTERRUPT, NOTIFY_REPLY))

# INIT, first word of flags.
ASYNC_READ = 1 << 0
EXPORT_SUPPORT = 1 << 4
DO_READDIRPLUS = 1 << 13
NO_OPEN_SUPPORT = 1 << 17
PARALLEL_DIROPS = 1 << 18
ABORT_ERROR = 1 << 21
MAX_PAGES = 1 << 22
CACHE_SYMLINKS = 1 << 23
NO_OPENDIR_SUPPORT = 1 << 24
INIT_EXT = 1 << 30
# INIT, second word.
PASSTHROUGH = 1 << 5

FOPEN_KEEP_CACHE = 1 << 1
FOPEN_NOFLUSH = 1 << 5
FOPEN_PASSTHROUGH = 1 << 7

NOTIFY_INVAL_INODE = 2
NOTIFY_INVAL_ENTRY = 3

IOCTL_BACKING_OPEN = 0x4010E501  # _IOW(229, 1, struct fuse_backing_map)
IOCTL_BACKING_CLOSE = 0x4004E502  # _IOW(229, 2, uint32_t)

REQUEST_HEADER = struct.Struct("<IIQQ")  # length, opcode, unique, node; then uid, gid, pid, two 16-bit fields
REQUEST_SIZE = 40
REPLY_HEADER = struct.Struct("<IiQ")
REPLY_SIZE = 16
READ_REQUEST = struct.Struct("<QQI")  # handle, offset, size; the rest does not concern a reader
OPEN_REQUEST = struct.Struct("<I")  # open(2) flags
OPEN_REPLY = struct.Struct("<QIi")
STATFS_REPLY = struct.Struct("<5Q4I24x")
BACKING_MAP = struct.Struct("<iIQ")
# What a request has at least: no handler looks behind the end of one.
SMALLEST = {
    LOOKUP: REQUEST_SIZE + 1,
    READ: REQUEST_SIZE + READ_REQUEST.size,
    READDIRPLUS: REQUEST_SIZE + READ_REQUEST.size,
    OPEN: REQUEST_SIZE + OPEN_REQUEST.size,
    INIT: REQUEST_SIZE + 16,
    INTERRUPT: REQUEST_SIZE + 8,
}
_INIT_REQUEST = struct.Struct("<4I")  # major, minor, max_readahead, flags
_MORE_FLAGS = struct.Struct("<I")  # behind it since 7.36 (Linux 5.17)
_INIT_REPLY = struct.Struct("<4I2H2I2H2I24x")
_DIRENT = struct.Struct("<QQII")
_DT_DIR = 4
DOT_SIZE = 160  # bytes of one of `dot_entries`
_INVAL_ENTRY = struct.Struct("<QII")
_INVAL_INODE = struct.Struct("<Qqq")

# The kernel keeps times as jiffies; the largest that does not overflow there is "for ever".
FOR_EVER = (1 << 40) - 1
# A negative entry with a validity: the kernel remembers that the name does not exist.
NO_SUCH_ENTRY = struct.pack("<4QII", 0, 0, FOR_EVER, FOR_EVER, 0, 0) + bytes(ATTR_SIZE)
ATTR_REPLY_PREFIX = struct.pack("<QII", FOR_EVER, 0, 0)

_WANTED = (
    ASYNC_READ | EXPORT_SUPPORT | DO_READDIRPLUS | PARALLEL_DIROPS | ABORT_ERROR | MAX_PAGES | CACHE_SYMLINKS | INIT_EXT
)
_SMALLEST_KERNEL = 31  # protocol 7.31, Linux 5.4: READDIRPLUS, MAX_PAGES, CACHE_SYMLINKS, NO_OPENDIR_SUPPORT


class InitRequest:
    """What the kernel offers at the beginning of a connection."""

    __slots__ = ("flags", "flags2", "major", "max_readahead", "minor")

    def __init__(self, body: bytes | bytearray | memoryview) -> None:
        self.major, self.minor, self.max_readahead, self.flags = _INIT_REQUEST.unpack_from(body)
        self.flags2 = 0
        if len(body) >= _INIT_REQUEST.size + _MORE_FLAGS.size:
            (self.flags2,) = _MORE_FLAGS.unpack_from(body, _INIT_REQUEST.size)

    @property
    def is_new_enough(self) -> bool:
        """Whether the kernel speaks a protocol that this transport can work with."""
        return self.major == 7 and self.minor >= _SMALLEST_KERNEL and bool(self.flags & DO_READDIRPLUS)

    def reply(self, *, opens: bool, max_write: int, max_pages: int) -> bytes:
        """Return the body that accepts the offer.

        Args:
            opens: ask to be told of every open, which passing files through needs; otherwise of none.
            max_write: bytes; small, because the kernel sizes the requests it sends by it and nobody writes here.
            max_pages: pages of 4 KiB in one READ.
        """
        wanted = _WANTED | NO_OPENDIR_SUPPORT | (0 if opens else NO_OPEN_SUPPORT)
        wanted2 = self.flags2 & PASSTHROUGH if opens else 0
        return _INIT_REPLY.pack(
            7, min(self.minor, 45), 16 << 20, self.flags & wanted, 64, 48, max_write, 1, max_pages, 0, wanted2,
            1 if wanted2 else 0,
        )  # fmt: skip


def directory_entry(entry: bytes | memoryview, name: bytes, offset: int) -> bytes:
    """Return one entry of a READDIRPLUS reply.

    Args:
        entry: the reply to a look-up of the name.
        name: at most 255 bytes.
        offset: where the listing goes on after it.
    """
    inode = int.from_bytes(entry[:8], "little")
    kind = int.from_bytes(entry[100:104], "little") >> 12
    return bytes(entry) + _DIRENT.pack(inode, offset, len(name), kind) + name + bytes(-len(name) & 7)


def dot_entries(inode: int, offset: int) -> bytes:
    """Return "." and "..", which stand at the end of a listing, at the positions `offset` and `offset` + 1.

    The number of the parent is not known; nothing but curiosity reads it, and libfuse gives the same one.
    """
    dot = bytes(ENTRY_SIZE) + _DIRENT.pack(inode, offset + 1, 1, _DT_DIR) + b".".ljust(8, b"\0")
    return dot + bytes(ENTRY_SIZE) + _DIRENT.pack(0xFFFFFFFF, offset + 2, 2, _DT_DIR) + b"..".ljust(8, b"\0")


def error_reply(unique: int, code: int) -> bytes:
    """Return a whole reply that refuses request `unique` with the errno `code`."""
    return REPLY_HEADER.pack(REPLY_SIZE, -code, unique)


def invalidate_entry(parent: int, name: bytes) -> bytes:
    """Return a notification that makes the kernel forget the name and everything cached beneath it."""
    body = _INVAL_ENTRY.pack(parent, len(name), 0) + name + b"\0"
    return REPLY_HEADER.pack(REPLY_SIZE + len(body), NOTIFY_INVAL_ENTRY, 0) + body


def invalidate_bytes(node: int) -> bytes:
    """Return a notification that makes the kernel forget a node's attributes and all its bytes; ENOENT as below."""
    return REPLY_HEADER.pack(REPLY_SIZE + _INVAL_INODE.size, NOTIFY_INVAL_INODE, 0) + _INVAL_INODE.pack(node, 0, 0)


def invalidate_attributes(node: int) -> bytes:
    """Return a notification that makes the kernel forget a node's attributes but not its bytes.

    The kernel answers ENOENT when it holds no such node, which makes this the cheapest way to ask whether it does.
    """
    return REPLY_HEADER.pack(REPLY_SIZE + _INVAL_INODE.size, NOTIFY_INVAL_INODE, 0) + _INVAL_INODE.pack(node, -1, 0)
