"""The wire protocol's codec, against the sizes and layouts of linux/fuse.h."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from storefs.fuse import kernel_wire as wire
from storefs.metadata import trees
from storefs.metadata.trees import MODE_DIRECTORY, encode_dirent, encode_entry


def init_request(*, major: int = 7, minor: int = 45, flags: int = 0xFFFFFFFF, flags2: int = 0xFFFFFFFF) -> bytes:
    return struct.pack("<5I44x", major, minor, 1 << 17, flags, flags2)


def test_the_structures_have_the_kernels_sizes() -> None:
    assert wire.REPLY_HEADER.size == wire.REPLY_SIZE == 16
    assert len(wire.NO_SUCH_ENTRY) == trees.ENTRY_SIZE == 128
    assert wire.STATFS_REPLY.size == 80
    assert wire.OPEN_REPLY.size == 16
    assert len(wire.ATTR_REPLY_PREFIX) + trees.ATTR_SIZE == 104
    assert len(wire.InitRequest(init_request()).reply(opens=False, max_write=4096, max_pages=256)) == 64


def test_init_asks_for_no_opens_or_for_passing_through() -> None:
    offer = wire.InitRequest(init_request())
    assert offer.is_new_enough
    silent = struct.unpack("<4I2H2I2H2I24x", offer.reply(opens=False, max_write=4096, max_pages=256))
    assert silent[3] & wire.NO_OPEN_SUPPORT
    assert not silent[10] & wire.PASSTHROUGH
    assert silent[11] == 0
    passing = struct.unpack("<4I2H2I2H2I24x", offer.reply(opens=True, max_write=4096, max_pages=256))
    assert not passing[3] & wire.NO_OPEN_SUPPORT
    assert passing[10] == wire.PASSTHROUGH
    assert passing[11] == 1
    for reply in (silent, passing):
        assert reply[3] & wire.NO_OPENDIR_SUPPORT
        assert reply[3] & wire.CACHE_SYMLINKS
        assert reply[6] == 4096
        assert reply[8] == 256


def test_init_takes_nothing_that_was_not_offered() -> None:
    offer = wire.InitRequest(init_request(flags=wire.DO_READDIRPLUS | wire.ASYNC_READ, flags2=0))
    fields = struct.unpack("<4I2H2I2H2I24x", offer.reply(opens=True, max_write=4096, max_pages=256))
    assert fields[3] == wire.DO_READDIRPLUS | wire.ASYNC_READ
    assert fields[10] == fields[11] == 0


def test_old_kernels_are_recognised() -> None:
    assert not wire.InitRequest(init_request(minor=30)).is_new_enough
    assert not wire.InitRequest(init_request(major=6)).is_new_enough
    assert not wire.InitRequest(init_request(flags=0)).is_new_enough


def test_notifications_are_replies_to_request_zero() -> None:
    message = wire.invalidate_entry(1, b"name")
    assert struct.unpack_from("<IiQ", message) == (len(message), 3, 0)
    assert struct.unpack_from("<QII", message, 16) == (1, 4, 0)
    assert message[32:] == b"name\0"
    message = wire.invalidate_attributes(77)
    assert struct.unpack("<IiQQqq", message) == (40, 2, 0, 77, -1, 0)


def test_an_error_is_a_header() -> None:
    assert struct.unpack("<IiQ", wire.error_reply(123, 30)) == (16, -30, 123)


@given(st.binary(min_size=1, max_size=255), st.integers(16, 2**63 - 1), st.integers(0, 2**62))
def test_the_roots_entries_look_like_the_ready_made_ones(name: bytes, inode: int, offset: int) -> None:
    entry = encode_entry(inode, 0, MODE_DIRECTORY)
    made = wire.directory_entry(entry, name, offset)
    ready = encode_dirent(inode, 0, MODE_DIRECTORY, name, 0)
    assert len(made) == len(ready)
    # The position of the next entry is all they differ in.
    assert made[:136] + made[144:] == ready[:136] + ready[144:]
    assert struct.unpack_from("<Q", made, 136)[0] == offset


def test_the_dots_have_one_size() -> None:
    dots = wire.dot_entries(50, 1000)
    assert len(dots) == 2 * wire.DOT_SIZE
    assert struct.unpack_from("<QQII", dots, 128) == (50, 1001, 1, 4)
    assert struct.unpack_from("<QQII", dots, wire.DOT_SIZE + 128) == (0xFFFFFFFF, 1002, 2, 4)
    assert dots[152:153] == b"."
    assert dots[wire.DOT_SIZE + 152 : wire.DOT_SIZE + 154] == b".."


def test_every_opcode_has_a_name() -> None:
    assert wire.OPCODE_NAMES[wire.READDIRPLUS] == "readdirplus"
    assert wire.OPCODE_NAMES[wire.LOOKUP] == "lookup"
    assert wire.MUTATING.isdisjoint(wire.SILENT)
