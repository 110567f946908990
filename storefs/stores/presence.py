"""What a quick check compares: the rows that name something with the rows and blob files that are there.

Reads every row once and asks the file system for the size of every blob; no contents.  For stores/verify.py.
"""

from __future__ import annotations

from struct import Struct

from storefs.metadata import trees
from storefs.metadata.schema import KEY, KEY_NEXT_INODE, NUMBER
from storefs.stores.blob_sizes import DIGEST_SIZE, ROW_SIZE, BlobSizes

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
_BLOB_ROW = Struct(f"{ROW_SIZE}s")
_PROCESS_PAYS = 10_000  # nodes: with as many, one that lists the blobs meanwhile saves more than it takes to start
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


def check_presence(
    env: Environment, blobs: BlobStore, *, sizes: bool = True, process_pays: int = _PROCESS_PAYS
) -> Presence:
    """Compare everything, without a lock: what comes and goes meanwhile may be among the findings.

    Without ``sizes`` those of blobs are left to whoever reads them.  ``process_pays`` is made small by tests.
    """
    wrong: set[int] = set()
    with BlobSizes(blobs.directory) as listing:
        with env.snapshot(buffers=True) as txn:
            # The files are looked at after the snapshot: what a row names was there before it.
            if sizes and txn.stat(env.nodes)["entries"] >= process_pays:
                listing.start()
            limit = txn.get(KEY_NEXT_INODE, db=env.meta)
            kinds = bytearray(1 if limit is None else NUMBER.unpack(limit)[0] + 1)
            named, inodes = _read_nodes(env, txn, kinds, wrong)
            _read_directories(env, txn, kinds, wrong)
            for value in txn.cursor(env.paths).iternext(keys=False):
                root = int.from_bytes(value[8:16], "little")
                if root >= len(kinds) or not kinds[root]:
                    wrong.add(root)
        if sizes:
            found = {each for (each,) in _BLOB_ROW.iter_unpack(listing.wait())}
        else:
            found = set(blobs.all_digests())
            named = [each[:DIGEST_SIZE] for each in named]
    if not found.issuperset(named):
        wrong.update(inode for each, inode in zip(named, inodes, strict=True) if each not in found)
    unnamed = found.difference(named)
    digests = {each[:DIGEST_SIZE] for each in unnamed}
    if digests:
        digests.difference_update(each[:DIGEST_SIZE] for each in named)
    return Presence(wrong, sorted(digests))


def _read_nodes(env: Environment, txn: Transaction, kinds: bytearray, wrong: set[int]) -> tuple[list[bytes], list[int]]:
    """Note in ``kinds`` what every inode is, and return the blobs that nodes name, as `blob_sizes` has them.

    The second list has the inodes of those nodes.
    """
    named: list[bytes] = []
    inodes: list[int] = []
    number = int.from_bytes
    size, payload = slice(9, 17), slice(trees.NODE_PAYLOAD, None)
    for key, node in txn.cursor(env.nodes).iternext():
        inode = number(key, "big")
        try:
            if len(node) > _LONGEST_LINK_RECORD:
                kinds[inode] = _FILE
                continue
            kind = node[0]
            if kind == trees.INLINE:
                kinds[inode] = _FILE
            elif kind == trees.BLOB:
                kinds[inode] = _FILE
                named.append(b"".join((node[payload], node[size])))
                inodes.append(inode)
            elif kind == trees.SYMLINK:
                kinds[inode] = _LINK
            else:
                wrong.add(inode)
        except IndexError:  # an empty record, or an inode that was never given out
            wrong.add(inode)
    return named, inodes


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
            entries = trees.decode_inodes(record)
            # Whole columns at once: the loop that says which entry is wrong runs where one is.
            children, modes = zip(*entries, strict=True) if entries else ((), ())
            if list(map(kinds.__getitem__, children)) == list(map(_KIND_OF_MODE.__getitem__, modes)):
                continue
            for child, mode in entries:
                if child >= len(kinds) or kinds[child] != _KIND_OF_MODE[mode]:
                    wrong.add(child)
        except Exception:  # whatever a damaged record makes of the arithmetic
            wrong.add(unpack(key)[0])
