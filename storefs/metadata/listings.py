"""Listings: directory records that directories with the same entries share, in the table ``listings``.

Closures that are alike have whole directories in common.  Equal files are one inode already, so the records of two
directories with nothing but the same files differ only in the directory's own inode; they take pages of their own, more
than the index of all their files (measured, five closures of which four fifths are equal: 1.4 MB of 46).

Such a record is kept once, with zero as its own inode, under its BLAKE3 digest; the row of each directory in ``dirs``
is that digest.  ``uses`` counts the directories, and a listing counts as one name of each of its files.  When the
second last directory goes, nothing but the count changes; the last one takes the record back and is taken down as any.

For tree_writer.py and tree_release.py, and for whoever reads a directory: only `find_directory` knows where it lies.
"""

from __future__ import annotations

from storefs.castore.trees import FileNode
from storefs.metadata.schema import KEY, LISTING_KEY_SIZE, NUMBER
from storefs.metadata.uses import drop_uses, find_uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from storefs.castore.trees import Node
    from storefs.metadata.environment import Environment, Transaction

# Entries: with so many a record has pages of its own, whatever the names; a smaller one shares a page with others.
_WORTH_SHARING = 12


def find_directory(env: Environment, txn: Transaction, inode: int) -> bytes | None:
    """The record of a directory, see `trees`; None where there is none, or the listing that it has is missing.

    A memoryview in a snapshot with buffers.  The inode in the record itself may be zero.
    """
    record = txn.get(KEY.pack(inode), db=env.dirs)
    if record is None or len(record) != LISTING_KEY_SIZE:
        return record
    return txn.get(record, db=env.listings)


def listing_of(env: Environment, txn: Transaction, inode: int) -> bytes:
    """The key of the listing that a directory has; nothing where it has a record of its own, or is none."""
    record = txn.get(KEY.pack(inode), b"", db=env.dirs)
    return bytes(record) if len(record) == LISTING_KEY_SIZE else b""


def files_to_share(entries: Sequence[tuple[bytes, Node]]) -> list[tuple[bytes, FileNode]]:
    """The entries of a directory that gets a listing: only regular files have an inode that others use, too.

    None of a directory that gets a record of its own.
    """
    if len(entries) < _WORTH_SHARING:
        return []
    files = [(name, node) for name, node in entries if isinstance(node, FileNode)]
    return files if len(files) == len(entries) else []


def share_listing(env: Environment, txn: Transaction, key: bytes, record: bytes, repair: bool) -> bool:
    """Use the listing with this record once more, or make it; returns whether it is new, and names files by that.

    With ``repair`` one that is there is compared, and overwritten where it is damaged.
    """
    if txn.put(key, record, overwrite=False, db=env.listings):
        return True
    if repair and txn.get(key, db=env.listings) != record:
        txn.put(key, record, db=env.listings)
    txn.put(key, NUMBER.pack(find_uses(env, txn, key) + 1), db=env.uses)
    return False


def give_up_listing(env: Environment, txn: Transaction, key: bytes) -> bytes | None:
    """Take the listing from a directory that goes.

    Returns the record where no other directory has it: it is this one's own then, which is to be taken down.
    """
    return None if drop_uses(env, txn, key, 1) > 0 else txn.pop(key, db=env.listings)
