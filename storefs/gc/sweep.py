"""Giving bytes back: blobs that nothing names, and what killed additions left.

Safe beside running additions: a blob is taken away under the database's write lock, after a look that no node names it;
an addition that relies on it holds a link of its own and puts it back before it commits (castore/intake_area.py).
"""

from __future__ import annotations

import os

from storefs.castore.intake_area import new_area
from storefs.castore.left_overs import digests_in_area, remove_area
from storefs.metadata import trees
from storefs.metadata.schema import KEY, LISTING_KEY_SIZE, NUMBER
from storefs.metadata.tree_release import give_up_staged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from storefs.castore.blobs import BlobStore
    from storefs.castore.intake_area import IntakeArea
    from storefs.metadata.environment import Environment, Transaction

_BATCH = 256  # blobs for each transaction: a few milliseconds


def collect_left_overs(env: Environment, blobs: BlobStore) -> int:
    """Remove what killed additions left and return the bytes freed; `sweep_blobs` frees what they had published.

    What they had written ahead is dying now.
    """
    freed = 0
    for area in blobs.stale_areas():
        owner = os.path.basename(area).encode()
        _give_up(env, owner.__eq__)
        digests = digests_in_area(area)
        for start in range(0, len(digests), _BATCH):
            _mark_unnamed(env, digests[start : start + _BATCH])
        freed += remove_area(area)
    # Where somebody has emptied the folder of areas. Asked under the write lock: whoever has a row has an area.
    _give_up(env, lambda owner: not os.path.isdir(f"{blobs.temporary}/{os.fsdecode(owner)}"))
    return freed


def sweep_blobs(env: Environment, blobs: BlobStore) -> int:
    """Remove all blobs that are known to have lost their last name and return the bytes freed."""
    freed = 0
    while True:
        with env.snapshot() as txn:
            if not txn.cursor(env.dead_blobs).first():
                return freed
        area = new_area(blobs)
        try:
            env.update(lambda txn, area=area: _withdraw_some(env, txn, area))  # type: ignore[misc]
        finally:
            freed += area.close()
        env.give_way()


def mark_orphans(env: Environment, blobs: BlobStore, among: Iterable[bytes] | None = None) -> int:
    """Note the blob files that nothing names for the next sweep and return how many there are.

    Looks at the digests ``among``, or reads the whole blob directory: for the verifier.  Does nothing while an addition
    runs, whose blobs look the same.
    """
    if blobs.additions_run():
        return 0
    digests = list(blobs.all_digests() if among is None else among)
    return sum(_mark_unnamed(env, digests[start : start + _BATCH]) for start in range(0, len(digests), _BATCH))


def saved_by_sharing(env: Environment) -> int:
    """The bytes that the store would take more if equal files did not share their contents."""
    saved = 0
    with env.snapshot() as txn:
        for key, value in txn.cursor(env.uses).iternext():
            names = NUMBER.unpack(value)[0] - 1
            if len(key) == LISTING_KEY_SIZE:
                listing = txn.get(key, db=env.listings)
                saved += names * sum(size for _, _, size, _ in trees.decode_directory(listing)) if listing else 0
                continue
            record = txn.get(key, db=env.nodes)
            if record is not None:
                saved += trees.node_size(record) * names
    return saved


def is_named(env: Environment, txn: Transaction, digest: bytes) -> bool:
    """Whether a node, executable or not, has the contents with this digest."""
    return txn.get(digest + b"\0", db=env.files) is not None or txn.get(digest + b"\1", db=env.files) is not None


def _withdraw_some(env: Environment, txn: Transaction, area: IntakeArea) -> None:
    cursor = txn.cursor(env.dead_blobs)
    if not cursor.first():
        return
    digests = []
    for digest in cursor.iternext(keys=True, values=False):
        digests.append(digest)
        if len(digests) == _BATCH:
            break
    for digest in digests:
        if not is_named(env, txn, digest):
            area.withdraw(digest)
        txn.delete(digest, db=env.dead_blobs)


def unnamed(env: Environment, digests: Iterable[bytes]) -> list[bytes]:
    """Those blobs that no committed row names: nobody has promised yet that they are durable."""
    with env.snapshot() as txn:
        return [digest for digest in digests if not is_named(env, txn, digest)]


def _give_up(env: Environment, is_over: Callable[[bytes], bool]) -> None:
    with env.snapshot() as txn:
        if not any(map(is_over, txn.cursor(env.staged).iternext(keys=False))):
            return
    env.update(lambda txn: give_up_staged(env, txn, is_over))


def _mark_unnamed(env: Environment, digests: list[bytes]) -> int:
    found = unnamed(env, digests)
    if found:
        env.update(lambda txn: _put_unnamed(env, txn, found))
    return len(found)


def _put_unnamed(env: Environment, txn: Transaction, digests: list[bytes]) -> None:
    for digest in digests:
        if not is_named(env, txn, digest):
            txn.put(digest, KEY.pack(0), db=env.dead_blobs)
