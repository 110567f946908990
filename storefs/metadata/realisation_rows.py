"""The keys of the rows of realisations, and taking away those of a path. Knows nothing of what the values say.

Apart from `realisations`, because every collection comes here, and reading the values would import `json`.
"""

from __future__ import annotations

from storefs.metadata.schema import KEY, KEY_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.metadata.environment import Database, Environment, Transaction


def row_key(drv_hash: bytes, output: str) -> bytes:
    """The key of an output in ``realisations``."""
    return drv_hash + output.encode("utf-8", "surrogateescape")


def database(handle: Database | None) -> Database:
    """A table that exists because the transaction is one that writes."""
    assert handle is not None
    return handle


def remove_of_path(env: Environment, txn: Transaction, path_id: int) -> None:
    """Take away all realisations that name a path which is about to become invalid."""
    prefix = KEY.pack(path_id)
    cursor = txn.cursor(database(env.realised))
    while cursor.set_range(prefix):
        key = bytes(cursor.key())
        if not key.startswith(prefix):
            return
        txn.delete(key[KEY_SIZE:], db=database(env.realisations))
        cursor.delete()
