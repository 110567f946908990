"""What a quick check compares: the rows that name something with the rows and blob files that are there.

Reads every row once and asks the file system for the size of every blob; no contents.  Compiled (MODULES in setup.py).
For stores/verify.py.
"""

from __future__ import annotations

from _struct import Struct  # as in metadata/schema.py

import cython

from storefs.metadata import trees
from storefs.metadata.schema import KEY_NEXT_INODE, LISTING_KEY_SIZE, NUMBER
from storefs.stores.blob_sizes import DIGEST_SIZE, ROW_SIZE, BlobSizes, sorted_rows

if cython.compiled:
    from cython.cimports.storefs.stores.presence import verglas_agree, verglas_blob_row, verglas_inode, verglas_note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.castore.blobs import BlobStore
    from storefs.metadata.environment import Environment, Transaction
    from storefs.metadata.trees import Record

_DIRECTORY, _FILE, _LINK, _BLOB = 1, 2, 3, 4  # a blob is a file, too
_KIND_OF_MODE = {
    trees.MODE_REGULAR: _FILE,
    trees.MODE_EXECUTABLE: _FILE,
    trees.MODE_DIRECTORY: _DIRECTORY,
    trees.MODE_SYMLINK: _LINK,
}
_NO_SIZE = bytes(ROW_SIZE - DIGEST_SIZE)
_BLOB_ROW = Struct(f"{ROW_SIZE}s")
# A longer record can only have contents.  Its page is not looked at, which would make all of them resident.
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

    Without ``sizes`` those of blobs are left to whoever reads them.
    """
    wrong: set[int] = set()
    with BlobSizes(blobs.directory, sizes) as listing:
        with env.snapshot(buffers=True) as txn:
            # The files are looked at after the snapshot: what a row names was there before it.
            listing.start()
            limit = txn.get(KEY_NEXT_INODE, db=env.meta)
            kinds = bytearray(1 if limit is None else NUMBER.unpack(limit)[0] + 1)
            named, inodes = _read_nodes(env, txn, kinds, wrong)
            _read_directories(env, txn, kinds, wrong)
            for value in txn.cursor(env.paths).iternext(keys=False):
                root = int.from_bytes(value[8:16], "little")
                if root >= len(kinds) or not kinds[root]:
                    wrong.add(root)
        if not sizes:
            named = [each[:DIGEST_SIZE] + _NO_SIZE for each in named]
        listed = listing.wait()
    if listed == sorted_rows(b"".join(named)):
        return Presence(wrong, [])
    found = {each for (each,) in _BLOB_ROW.iter_unpack(listed)}
    wrong.update([inode for each, inode in zip(named, inodes, strict=True) if each not in found])
    found.difference_update(named)
    digests = {each[:DIGEST_SIZE] for each in found}
    if digests:
        digests.difference_update([each[:DIGEST_SIZE] for each in named])
    return Presence(wrong, sorted(digests))


def _read_nodes(env: Environment, txn: Transaction, kinds: bytearray, wrong: set[int]) -> tuple[list[bytes], list[int]]:
    """Note in ``kinds`` what every inode is, and return the blobs that nodes name, as `blob_sizes` has them.

    The second list has the inodes of those nodes.
    """
    named: list[bytes] = []
    inodes: list[int] = []
    for key, node in txn.cursor(env.nodes).iternext():
        kind = _note(key, node, kinds)
        if kind == _BLOB:
            named.append(_blob_row(node))
            inodes.append(_inode(key))
        elif not kind:
            wrong.add(_inode(key))
    return named, inodes


def _read_directories(env: Environment, txn: Transaction, kinds: bytearray, wrong: set[int]) -> None:
    """Compare what directories name with ``kinds``, which gets the directories first."""
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


def _is_whole(record: Record, kinds: bytearray, wrong: set[int]) -> bool:
    """Whether a directory record can be read; what it names and is not what it says goes to ``wrong``."""
    try:
        if _agree(record, kinds):
            return True
        for _, child, _, mode in trees.decode_directory(record):
            if child >= len(kinds) or kinds[child] != _KIND_OF_MODE[mode]:
                wrong.add(child)
    except (trees.CorruptTreeError, KeyError):  # the latter: a mode that nothing has
        return False
    return True


def _inode(key: Record) -> int:  # presence.pxd has the types that it is compiled with
    if cython.compiled:
        return verglas_inode(key)  # type: ignore[no-any-return]
    return int.from_bytes(key, "big")


def _note(key: Record, node: Record, kinds: bytearray) -> int:
    """Note what a node record is, and return it: 0 where it is none, or its number was never given out."""
    if cython.compiled:
        return verglas_note(key, node, kinds, _LONGEST_LINK_RECORD)  # type: ignore[no-any-return]
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


def _blob_row(node: Record) -> bytes:
    """The digest and the size in the record of a blob."""
    if cython.compiled:
        return verglas_blob_row(node)  # type: ignore[no-any-return]
    return b"".join((node[trees.NODE_PAYLOAD :], node[9:17]))


def _agree(record: Record, kinds: bytearray) -> bool:
    """Whether a directory record is whole and what it names is what it says; where not, the caller looks again."""
    if cython.compiled:
        return verglas_agree(record, kinds)  # type: ignore[no-any-return]
    for _, child, _, mode in trees.decode_directory(record):
        if child >= len(kinds) or kinds[child] != _KIND_OF_MODE[mode]:
            return False
    return True
