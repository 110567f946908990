"""How often something is named: rows of ``uses``, of regular files by inode and of listings by their keys.

What is named once has no row (schema.py).  For tree_writer.py, tree_release.py, listings.py and the mount.
"""

from __future__ import annotations

from storefs.metadata.schema import NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.metadata.environment import Environment, Transaction


def find_uses(env: Environment, txn: Transaction, key: bytes) -> int:
    """How many names what is there under ``key`` has."""
    value = txn.get(key, db=env.uses)
    return 1 if value is None else NUMBER.unpack(value)[0]


def drop_uses(env: Environment, txn: Transaction, key: bytes, count: int) -> int:
    """Take away ``count`` names; returns how many are left."""
    value = txn.get(key, db=env.uses)
    left: int = (1 if value is None else NUMBER.unpack(value)[0]) - count
    if left > 1:
        txn.put(key, NUMBER.pack(left), db=env.uses)
    elif value is not None:
        txn.delete(key, db=env.uses)
    return left
