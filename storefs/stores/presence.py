"""What a quick check compares: the rows that name something with the rows and blob files that are there.

Reads every row once and asks the file system for the size of every blob; no contents.  For stores/verify.py.
"""

from __future__ import annotations

import os

from storefs.metadata import trees
from storefs.metadata.schema import KEY, KEY_NEXT_INODE, NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.castore.blobs import BlobStore
    from storefs.metadata.environment import Environment, Transaction

_DIRECTORY, _FILE, _LINK = 1, 2, 3
_KIND_OF_MODE = {
    trees.MODE_REGULAR: _FILE,
    trees.MODE_EXECUTABLE: _FILE,
    trees.MODE_DIRECTORY: _DIRECTORY,
    trees.MODE_SYMLINK: _LINK,
}
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


def check_presence(env: Environment, blobs: BlobStore) -> Presence:
    """Compare everything, without a lock: what comes and goes meanwhile may be among the findings."""
    wrong: set[int] = set()
    with env.snapshot(buffers=True) as txn:
        limit = txn.get(KEY_NEXT_INODE, db=env.meta)
        kinds = bytearray(1 if limit is None else NUMBER.unpack(limit)[0] + 1)
        nodes = _read_nodes(env, txn, kinds, wrong)
        _read_directories(env, txn, kinds, wrong)
        for value in txn.cursor(env.paths).iternext(keys=False):
            root = int.from_bytes(value[8:16], "little")
            if root >= len(kinds) or not kinds[root]:
                wrong.add(root)
    # The files are looked at after the snapshot: what a row names was there before it.
    directory = blobs.directory
    status = os.lstat
    for digest, length, inode in nodes:
        text = digest.hex()
        try:
            if status(f"{directory}/{text[:2]}/{text[2:]}").st_size == length:
                continue
        except FileNotFoundError:
            pass
        wrong.add(inode)
    named = {digest for digest, _, _ in nodes}
    return Presence(wrong, [digest for digest in blobs.all_digests() if digest not in named])


def _read_nodes(env: Environment, txn: Transaction, kinds: bytearray, wrong: set[int]) -> list[tuple[bytes, int, int]]:
    """Note in ``kinds`` what every inode is, and return the digest, size and inode of every node that names a blob."""
    found = []
    unpack = KEY.unpack
    payload = trees.NODE_PAYLOAD
    inline, blob, symlink = trees.INLINE, trees.BLOB, trees.SYMLINK
    for key, node in txn.cursor(env.nodes).iternext():
        (inode,) = unpack(key)
        try:
            if len(node) > _LONGEST_LINK_RECORD:
                kinds[inode] = _FILE
                continue
            kind = node[0]
            if kind == inline:
                kinds[inode] = _FILE
            elif kind == blob:
                kinds[inode] = _FILE
                found.append((bytes(node[payload:]), trees.node_size(node), inode))
            elif kind == symlink:
                kinds[inode] = _LINK
            else:
                wrong.add(inode)
        except IndexError:  # an empty record, or an inode that was never given out
            wrong.add(inode)
    return found


def _read_directories(env: Environment, txn: Transaction, kinds: bytearray, wrong: set[int]) -> None:
    """Compare what directories name with ``kinds``, which gets the directories first."""
    unpack = KEY.unpack
    for key in txn.cursor(env.dirs).iternext(keys=True, values=False):
        (inode,) = unpack(key)
        if inode < len(kinds):
            kinds[inode] = _DIRECTORY
        else:
            wrong.add(inode)
    for key, record in txn.cursor(env.dirs).iternext():
        try:
            children, modes = trees.decode_columns(record)
            # Whole columns at once: the loop that says which entry is wrong runs where one is.
            if list(map(kinds.__getitem__, children)) == list(map(_KIND_OF_MODE.__getitem__, modes)):
                continue
            for child, mode in zip(children, modes, strict=True):
                if child >= len(kinds) or kinds[child] != _KIND_OF_MODE[mode]:
                    wrong.add(child)
        except Exception:  # whatever a damaged record makes of the arithmetic
            wrong.add(unpack(key)[0])
