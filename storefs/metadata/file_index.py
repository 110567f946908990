"""How small files come into the index of files late: until then an addition has them in the table ``unindexed``.

The index is in the order of hashes, so what it is told of one addition lies anywhere in it, and a transaction has every
page that it changes in memory.  Told of all of them at once, in the order of the keys, each page is written once; and
where it has many pages, of some thousand keys at a time.

For stores/staging.py, and tree_writer.py, which registers.
"""

from __future__ import annotations

from storefs.metadata.residency import LOOKS, scattered_looks
from storefs.metadata.schema import KEY, NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from storefs.metadata.environment import Environment, Transaction

_PAGES = 2048  # of the index that one transaction changes: 8 MB


def index_files(env: Environment, txn: Transaction, files: Sequence[tuple[bytes, int]]) -> None:
    """Tell the index of files, given as keys, ascending, and inodes; where it has equal contents by now, both stay."""
    if not files:
        return
    cursor = txn.cursor(env.files)
    residency = scattered_looks(env.path)
    named = []
    for start in range(0, len(files), LOOKS):
        some = files[start : start + LOOKS]
        _, added = cursor.putmulti([(key, NUMBER.pack(inode)) for key, inode in some], overwrite=False)
        if added < len(some):
            some = [(key, inode) for key, inode in some if cursor.get(key) == NUMBER.pack(inode)]
        named += [KEY.pack(inode) for _, inode in some]
        residency.tick(LOOKS)
    unindexed = env.unindexed
    if unindexed is not None and int(txn.stat(unindexed)["entries"]) == len(named):  # nobody else has rows there
        txn.drop(unindexed, delete=False)
    else:
        for row in sorted(named):
            txn.delete(row, db=env.unindexed)
    residency.end()


def index_some(env: Environment, txn: Transaction, unindexed: Mapping[bytes, int]) -> list[bytes]:
    """Tell the index of as many of these keys and inodes as one transaction should; returns the keys."""
    keys = sorted(unindexed)
    if not fits(env, txn, len(keys)):
        del keys[_PAGES:]
    index_files(env, txn, [(key, unindexed[key]) for key in keys])
    return keys


def fits(env: Environment, txn: Transaction, count: int) -> bool:
    """Whether one transaction may tell the index of so many files."""
    return count <= _PAGES or int(txn.stat(env.files)["leaf_pages"]) <= _PAGES
