from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefs.metadata import trees
from storefs.metadata.entry_search import find_entry
from tests.variants import VARIANTS, variant

AS_INSTALLED, AS_PYTHON = (variant("storefs.metadata.trees", which) for which in VARIANTS)
_NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & {0, 47})
_MODES = st.sampled_from(
    [trees.MODE_REGULAR, trees.MODE_EXECUTABLE, trees.MODE_DIRECTORY, trees.MODE_SYMLINK],
)
_ENTRIES = st.dictionaries(_NAMES, st.tuples(st.integers(16, 2**63), st.integers(0, 2**40), _MODES), max_size=30)


def as_list(entries: dict[bytes, tuple[int, int, int]]) -> list[tuple[bytes, int, int, int]]:
    return [(name, *entries[name]) for name in sorted(entries)]


@given(_ENTRIES, _NAMES)
def test_directories_round_trip_and_are_searched(entries: dict[bytes, tuple[int, int, int]], other: bytes) -> None:
    expected = as_list(entries)
    record = trees.encode_directory(77, expected)
    assert trees.entry_count(record) == len(expected)
    assert list(trees.decode_directory(memoryview(record))) == expected
    assert trees.decode_inodes(record) == [(inode, mode) for _, inode, _, mode in expected]
    for entry in expected:
        position = find_entry(record, entry[0])
        assert position is not None
        assert trees.entry_at(record, position) == entry
        assert find_entry(memoryview(record), entry[0]) == position
    if other not in entries:
        assert find_entry(record, other) is None


@given(_ENTRIES, st.binary(max_size=20), st.booleans())
def test_records_are_the_same_compiled_or_not(
    entries: dict[bytes, tuple[int, int, int]], content: bytes, executable: bool
) -> None:
    one, other = AS_INSTALLED, AS_PYTHON
    assert one.encode_directory(77, as_list(entries)) == other.encode_directory(77, as_list(entries))
    assert one.encode_inline(2**63, executable, content) == other.encode_inline(2**63, executable, content)
    assert one.encode_inline(17, executable, memoryview(content)) == other.encode_inline(17, executable, content)
    assert one.encode_blob(17, executable, 2**40, bytes(32)) == other.encode_blob(17, executable, 2**40, bytes(32))
    assert one.encode_symlink(17, content) == other.encode_symlink(17, content)


def test_an_entry_is_what_the_kernel_reads() -> None:
    record = trees.encode_directory(5, [(b"a", 17, 1000, trees.MODE_EXECUTABLE), (b"b", 18, 0, trees.MODE_DIRECTORY)])
    start = trees.entries_start(record)
    # struct fuse_direntplus of fuse.h: fuse_entry_out with its fuse_attr, then fuse_dirent and the padded name
    nodeid, generation = struct.unpack_from("<QQ", record, start)
    assert (nodeid, generation) == (17, 0)
    inode, size, blocks, atime, mtime, ctime = struct.unpack_from("<6Q", record, start + 40)
    assert (inode, size, blocks, atime, mtime, ctime) == (17, 1000, 2, 1, 1, 1)
    mode, links, uid, gid = struct.unpack_from("<4I", record, start + 40 + 60)
    assert (mode, links, uid, gid) == (0o100555, 1, 0, 0)
    inode, offset, length, kind = struct.unpack_from("<QQII", record, start + 128)
    assert (inode, offset, length, kind) == (17, 160, 1, 8)
    assert record[start + 152 : start + 160] == b"a" + bytes(7)
    assert struct.unpack_from("<QQII", record, start + 160 + 128) == (18, 320, 1, 4)
    assert trees.encode_entry(17, 1000, trees.MODE_EXECUTABLE) == record[start : start + 128]
    assert record[8:96] == trees.encode_attr(5, 0, trees.MODE_DIRECTORY)


@given(st.integers(16, 2**63), st.binary(max_size=100), st.booleans())
def test_nodes_round_trip(inode: int, content: bytes, executable: bool) -> None:
    record = trees.encode_inline(inode, executable, content)
    assert trees.node_kind(record) == trees.INLINE
    assert trees.node_payload(record) == content
    assert trees.node_size(record) == len(content)
    assert trees.node_mode(record) == (0o100555 if executable else 0o100444)
    assert trees.node_fields(record) == (trees.INLINE, inode, len(content), trees.node_mode(record))
    assert trees.node_attr(record) == trees.encode_attr(inode, len(content), trees.node_mode(record))
    blob = trees.encode_blob(inode, executable, 2**40, bytes(32))
    assert (trees.node_kind(blob), trees.node_size(blob), trees.node_payload(blob)) == (trees.BLOB, 2**40, bytes(32))
    link = trees.encode_symlink(inode, b"target")
    assert (trees.node_kind(link), trees.node_size(link), trees.node_payload(link)) == (trees.SYMLINK, 6, b"target")


def test_damaged_records_are_noticed() -> None:
    record = trees.encode_directory(5, [(b"a", 17, 1, trees.MODE_REGULAR), (b"bc", 18, 0, trees.MODE_DIRECTORY)])
    for damaged in (b"", record[:50], record[:-1], record + b"x", record[:100] + b"\xff\xff" + record[102:]):
        with pytest.raises(trees.CorruptTreeError):
            list(trees.decode_directory(damaged))
    long_name = trees.encode_directory(5, [(b"a" * 256, 17, 1, trees.MODE_REGULAR)])
    with pytest.raises(trees.CorruptTreeError):
        list(trees.decode_directory(long_name))
    for damaged in (b"", b"X" + bytes(88), b"I"):
        with pytest.raises(trees.CorruptTreeError):
            trees.node_kind(damaged)
    with pytest.raises(trees.CorruptTreeError):
        trees.node_fields(b"I" + bytes(87))
