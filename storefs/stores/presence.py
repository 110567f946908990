"""What a quick check compares: the rows that name something with the rows and blob files that are there.

Reads every row once and asks the file system for the size of every blob; no contents.  Compiled (MODULES in setup.py),
rows are looked at on the pages of the database, without an object for each and without the interpreter's lock.
For stores/verify.py.
"""

from __future__ import annotations

from _struct import Struct  # as in metadata/schema.py

import cython

from storefs.metadata import trees
from storefs.metadata.page_scan import open_pages
from storefs.metadata.schema import DIRS, KEY_NEXT_INODE, LISTING_KEY_SIZE, LISTINGS, NODES, NUMBER, PATHS
from storefs.stores.blob_sizes import DIGEST_SIZE, ROW_SIZE, BlobSizes

if cython.compiled:
    from cython.cimports.storefs.stores.presence import verglas_next_odd, verglas_note, verglas_same_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.castore.blobs import BlobStore
    from storefs.metadata.environment import Environment, Transaction
    from storefs.metadata.page_scan import Pages
    from storefs.metadata.trees import Record

_DIRECTORY, _FILE, _LINK, _BLOB = 1, 2, 3, 4  # a blob is a file, too
# On the pages: of a shorter record that has pages of its own (from 2 KB), which take half of the time to look at.  A
# directory is believed that it is a file, as nearly all are; if one says anything else, they are looked at.
_UNREAD = 5
_KIND_OF_MODE = {
    trees.MODE_REGULAR: _FILE,
    trees.MODE_EXECUTABLE: _FILE,
    trees.MODE_DIRECTORY: _DIRECTORY,
    trees.MODE_SYMLINK: _LINK,
}
_NO_SIZE = bytes(ROW_SIZE - DIGEST_SIZE)
_BLOB_ROW = Struct(f"{ROW_SIZE}s")
# A longer record can only have contents.  Its page is not looked at, which would be to read most of the database.
_LONGEST_LINK_RECORD = trees.NODE_PAYLOAD + 4096


class Presence:
    """What was found.

    Attributes:
        wrong: inodes that directories or paths name but that have no row, whose directory record is damaged, or whose
            blob is missing or of a wrong size.
        unnamed: digests of blob files that no row named when the check began; some may be named by now.
    """

    __slots__ = ("unnamed", "wrong")

    def __init__(self, wrong: set[int], unnamed: list[bytes]) -> None:
        self.wrong = wrong
        self.unnamed = unnamed


def check_presence(env: Environment, blobs: BlobStore, *, sizes: bool = True) -> Presence:
    """Compare everything, without a lock: what comes and goes meanwhile may be among the findings.

    Without ``sizes`` those of blobs are left to whoever reads them.  Raises DatabaseError where the rows can't be read.
    """
    wrong: set[int] = set()
    with BlobSizes(blobs.directory, sizes) as listing:
        with env.snapshot(buffers=True) as txn:
            # The files are looked at after the snapshot: what a row names was there before it.
            listing.start()
            limit = txn.get(KEY_NEXT_INODE, db=env.meta)
            kinds = bytearray(1 if limit is None else NUMBER.unpack(limit)[0] + 1)
            pages = open_pages(env, txn) if cython.compiled else None
            if pages is None:
                named, inodes = _read_rows(env, txn, kinds, wrong, sizes)
            else:
                with pages:
                    named, inodes = _scan_pages(pages, kinds, wrong, sizes)
        listed = listing.wait()
    if _are_same(listed, named):
        return Presence(wrong, [])
    found = {each for (each,) in _BLOB_ROW.iter_unpack(listed)}
    in_rows = [each for (each,) in _BLOB_ROW.iter_unpack(named)]
    wrong.update([inode for each, inode in zip(in_rows, _numbers(inodes), strict=True) if each not in found])
    found.difference_update(in_rows)
    digests = {each[:DIGEST_SIZE] for each in found}
    if digests:
        digests.difference_update([each[:DIGEST_SIZE] for each in in_rows])
    return Presence(wrong, sorted(digests))


def _are_same(listed: bytes, named: bytes) -> bool:
    """Whether the rows of blobs that there are, and that nodes name, are the same, in whatever order and number."""
    if cython.compiled:
        return verglas_same_rows(listed, named)  # type: ignore[no-any-return]
    return set(_BLOB_ROW.iter_unpack(listed)) == set(_BLOB_ROW.iter_unpack(named))


def _numbers(packed: bytes) -> list[int]:
    return [number for (number,) in NUMBER.iter_unpack(packed)]


def _scan_pages(pages: Pages, kinds: bytearray, wrong: set[int], sizes: bool) -> tuple[bytes, bytes]:
    """What `_read_rows` does, for compiled code."""
    scan = pages.scan(NODES)
    named, inodes, found = verglas_note(scan, kinds, _FILE, _LONGEST_LINK_RECORD, sizes)
    pages.check(scan, NODES)
    wrong.update(_numbers(found))
    scan = pages.scan(DIRS)
    _, _, found = verglas_note(scan, kinds, _DIRECTORY, 0, False)
    pages.check(scan, DIRS)
    wrong.update(_numbers(found))
    whole = bytearray()
    scan = pages.scan(LISTINGS)
    while (row := verglas_next_odd(scan, kinds, whole, True)) is not None:
        _read_unread(pages, kinds)
        if _is_whole(row[1], kinds, wrong) and len(row[0]) == LISTING_KEY_SIZE:
            whole += row[0]
    pages.check(scan, LISTINGS)
    scan = pages.scan(DIRS)
    while (row := verglas_next_odd(scan, kinds, whole, False)) is not None:
        _read_unread(pages, kinds)
        if len(row[1]) == LISTING_KEY_SIZE or not _is_whole(row[1], kinds, wrong):
            wrong.add(_inode(row[0]))
    pages.check(scan, DIRS)
    for _, value in pages.rows(PATHS):
        _note_root(value, kinds, wrong)
    return named, inodes


def _read_rows(
    env: Environment, txn: Transaction, kinds: bytearray, wrong: set[int], sizes: bool
) -> tuple[bytes, bytes]:
    """Note in ``kinds`` what every inode is, and compare what directories and paths name with that.

    Returns the blobs that nodes name, as `blob_sizes` has them, and the inodes of those nodes.
    """
    named: list[bytes] = []
    inodes: list[bytes] = []
    for key, node in txn.cursor(env.nodes).iternext():
        kind = _note(key, node, kinds)
        if kind == _BLOB:
            named.append(b"".join((node[trees.NODE_PAYLOAD :], node[9:17] if sizes else _NO_SIZE)))
            inodes.append(NUMBER.pack(_inode(key)))
        elif not kind:
            wrong.add(_inode(key))
    for key in txn.cursor(env.dirs).iternext(keys=True, values=False):
        inode = _inode(key)
        if inode < len(kinds):
            kinds[inode] = _DIRECTORY
        else:
            wrong.add(inode)
    whole: set[bytes] = set()
    if env.listings is not None:
        for key, record in txn.cursor(env.listings).iternext():
            if _is_whole(record, kinds, wrong):
                whole.add(bytes(key))
    for key, record in txn.cursor(env.dirs).iternext():
        if len(record) == LISTING_KEY_SIZE:
            if record not in whole:
                wrong.add(_inode(key))
        elif not _is_whole(record, kinds, wrong):
            wrong.add(_inode(key))
    for value in txn.cursor(env.paths).iternext(keys=False):
        _note_root(value, kinds, wrong)
    return b"".join(named), b"".join(inodes)


def _read_unread(pages: Pages, kinds: bytearray) -> None:
    """Look at all nodes that were not looked at."""
    if _UNREAD in kinds:
        scan = pages.scan(NODES)
        verglas_note(scan, kinds, _UNREAD, _LONGEST_LINK_RECORD, False)
        pages.check(scan, NODES)


def _is_whole(record: Record, kinds: bytearray, wrong: set[int]) -> bool:
    """Whether a directory record can be read; what it names and is not what it says goes to ``wrong``."""
    try:
        for _, child, _, mode in trees.decode_directory(record):
            if child >= len(kinds) or kinds[child] != _KIND_OF_MODE[mode]:
                wrong.add(child)
    except (trees.CorruptTreeError, KeyError):  # the latter: a mode that nothing has
        return False
    return True


def _note_root(value: Record, kinds: bytearray, wrong: set[int]) -> None:
    root = int.from_bytes(value[8:16], "little")
    if root >= len(kinds) or not kinds[root]:
        wrong.add(root)


def _inode(key: Record) -> int:
    return int.from_bytes(key, "big")


def _note(key: Record, node: Record, kinds: bytearray) -> int:
    """Note what a node record is, and return it: 0 where it is none, or its number was never given out."""
    inode = _inode(key)
    if inode >= len(kinds):
        return 0
    kind = _FILE if len(node) > _LONGEST_LINK_RECORD else _kind(node)
    kinds[inode] = _FILE if kind == _BLOB else kind
    return kind


def _kind(node: Record) -> int:
    if len(node) < trees.NODE_PAYLOAD:
        return 0
    kind = node[0]
    if kind == trees.BLOB:
        return _BLOB if len(node) == trees.NODE_PAYLOAD + DIGEST_SIZE else 0
    return _FILE if kind == trees.INLINE else _LINK if kind == trees.SYMLINK else 0
