"""Taking trees down: the opposite of tree_writer, in steps small enough that writers never wait long.

A removed path's tree first becomes *dying* (in the transaction that removes the path), then its directories are taken
apart, a bounded number of entries for each transaction.  A killed process leaves dying rows, which the next one
continues.  For the collector and the stores' delete.
"""

from __future__ import annotations

import time

from storefs.castore.digest import digest_bytes
from storefs.castore.trees import file_key
from storefs.metadata import path_infos, trees
from storefs.metadata.listings import give_up_listing
from storefs.metadata.schema import DYING_KEY, KEY, LISTING_KEY_SIZE, NUMBER
from storefs.metadata.uses import drop_uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from storefs.metadata.environment import Environment, Transaction

ENTRIES_AT_ONCE = 2000  # at most: a transaction's memory is bounded by this
_SECONDS_AT_ONCE = 0.02  # and by this what others wait for it, on a slow or busy machine too
_STEP = 200  # entries between two looks at the clock
_DIRECTORY_TYPE = trees.MODE_DIRECTORY >> 12


class Released:
    """What some steps of taking down have done."""

    __slots__ = ("blobs", "entries", "inline_bytes", "more")

    def __init__(self) -> None:
        self.entries = 0  # names removed
        self.inline_bytes = 0  # bytes of contents that lay in the database and are gone
        self.blobs = 0  # blobs that lost their last name
        self.more = False  # whether dying rows are left that could go on


def begin_release(env: Environment, txn: Transaction, root: int, base_name: str) -> None:
    """Give up the tree at ``root``, which the path ``base_name`` had until now; `continue_release` does the work."""
    # A file can be the root of several removed paths, so the inode alone does not tell them apart.
    serial = path_infos.next_id(env, txn)
    txn.put(DYING_KEY.pack(root, serial), bytes(4) + base_name.encode("ascii"), db=env.dying)


def continue_release(
    env: Environment,
    txn: Transaction,
    may_go: Callable[[bytes, bool], bool],
    *,
    budget: int = ENTRIES_AT_ONCE,
    seconds: float = _SECONDS_AT_ONCE,
) -> Released:
    """Take down dying trees until ``budget`` entries are gone, or about ``seconds`` are over.

    ``may_go`` is asked about rows of ``dying``, by their key and whether they are the root of a path rather than what
    is left beneath one that was begun; where it says no they, and what is beneath them, wait.
    """
    end = time.monotonic() + seconds
    result = Released()
    cursor = txn.cursor(env.dying)
    todo: list[bytes] = []
    are_all = True
    if cursor.first():
        for key, value in cursor.iternext():
            if not may_go(key, _is_root(value)):
                continue
            if len(todo) > budget:
                are_all = False
                break
            todo.append(key)
    cursor.close()
    while todo:
        counts: dict[int, int] = {}
        limit = min(result.entries + _STEP, budget)
        while todo and result.entries < limit:
            todo.extend(_release_one(env, txn, todo.pop(), counts, limit, result))
        for inode in sorted(counts):
            _drop_uses(env, txn, inode, counts[inode], result)
        if todo and (result.entries >= budget or time.monotonic() >= end):
            break
    result.more = bool(todo) or not are_all
    return result


def give_up_staged(env: Environment, txn: Transaction, is_over: Callable[[bytes], bool]) -> None:
    """Give up what additions have written ahead and not registered, where ``is_over`` says so of their areas' names."""
    over = [key for key, owner in txn.cursor(env.staged).iternext() if is_over(owner)]
    for key in over:
        txn.delete(key, db=env.staged)
        txn.put(key + bytes(DYING_KEY.size - len(key)), bytes(4), db=env.dying)


def dying_roots(env: Environment, txn: Transaction) -> list[tuple[str, int]]:
    """The (base name, inode) of removed paths whose trees are still there."""
    return [
        (value[4:].decode("ascii"), DYING_KEY.unpack(key)[0])
        for key, value in txn.cursor(env.dying).iternext()
        if _is_root(value)
    ]


def dying_rows(env: Environment, txn: Transaction, removed: Iterable[tuple[str, int]]) -> list[bytes]:
    """The keys of the rows by which the trees of removed paths, given as (base name, inode), are dying."""
    found = []
    cursor = txn.cursor(env.dying)
    for name, root in removed:
        key = KEY.pack(root)
        if cursor.set_range(key):
            for row_key, value in cursor.iternext():
                if not row_key.startswith(key):
                    break
                if value[4:] == name.encode("ascii"):
                    found.append(row_key)
    return found


def _is_root(value: bytes) -> bool:
    return len(value) > 4


def _release_one(
    env: Environment, txn: Transaction, row_key: bytes, counts: dict[int, int], limit: int, result: Released
) -> list[bytes]:
    """Take one directory or root apart, until ``limit`` entries are gone; returns the keys of rows that are to follow.

    Those are directories that are dying now because of it, or its own where there is more of it.
    """
    inode = DYING_KEY.unpack(row_key)[0]
    key = KEY.pack(inode)
    record = txn.get(key, db=env.dirs)
    was_shared = record is not None and len(record) == LISTING_KEY_SIZE
    if record is not None and was_shared:
        record = give_up_listing(env, txn, record)
        if record is None:  # others have it, or it is missing
            txn.delete(key, db=env.dirs)
            txn.delete(row_key, db=env.dying)
            result.entries += 1
            return []
    if record is None:
        # the root of a path that is no directory, or a row that is gone already
        node = txn.get(key, db=env.nodes)
        if node is not None:
            _release_node(env, txn, inode, node[0] == trees.SYMLINK, counts)
            result.entries += 1
        txn.delete(row_key, db=env.dying)
        return []
    row = txn.get(row_key, db=env.dying) or bytes(4)
    done = int.from_bytes(row[:4], "little")
    count = trees.entry_count(record)
    stop = min(count, done + max(limit - result.entries, 1))
    directories = []
    for child, mode in trees.decode_inodes(record, done, stop):
        kind = mode >> 12
        if kind == _DIRECTORY_TYPE:
            child_key = DYING_KEY.pack(child, 0)  # a directory has one parent, so this is unique
            txn.put(child_key, bytes(4), db=env.dying)
            directories.append(child_key)
        else:
            _release_node(env, txn, child, mode == trees.MODE_SYMLINK, counts)
    result.entries += stop - done
    if stop < count:
        if was_shared:
            txn.put(key, record, db=env.dirs)  # its own from now on
        txn.put(row_key, stop.to_bytes(4, "little") + row[4:], db=env.dying)
        return [row_key, *directories]
    txn.delete(key, db=env.dirs)
    txn.delete(row_key, db=env.dying)
    return directories


def _release_node(env: Environment, txn: Transaction, inode: int, symlink: bool, counts: dict[int, int]) -> None:
    if symlink:
        txn.delete(KEY.pack(inode), db=env.nodes)
    else:
        counts[inode] = counts.get(inode, 0) + 1


def _drop_uses(env: Environment, txn: Transaction, inode: int, count: int, result: Released) -> None:
    key = KEY.pack(inode)
    if drop_uses(env, txn, key, count) > 0:
        return
    record = txn.pop(key, db=env.nodes)
    if record is None:
        return
    payload = trees.node_payload(record)
    executable = trees.node_mode(record) == trees.MODE_EXECUTABLE
    if txn.delete(key, db=env.unindexed):
        result.inline_bytes += len(record)
        return
    if record[0] == trees.INLINE:
        digest = digest_bytes(payload)
        result.inline_bytes += len(record)
    else:
        digest = bytes(payload)
    if not _delete_file_row(env, txn, file_key(digest, executable), inode):
        # The contents were damaged in place, so they no longer tell their key: look for the row that names the inode.
        for found, number in txn.cursor(env.files).iternext():
            if NUMBER.unpack(number)[0] == inode:
                txn.delete(found, db=env.files)
                break
        return
    if record[0] == trees.BLOB and txn.get(file_key(digest, not executable), db=env.files) is None:
        txn.put(digest, NUMBER.pack(trees.node_size(record)), db=env.dead_blobs)
        result.blobs += 1


def _delete_file_row(env: Environment, txn: Transaction, key: bytes, inode: int) -> bool:
    value = txn.get(key, db=env.files)
    if value is None or NUMBER.unpack(value)[0] != inode:
        return False
    txn.delete(key, db=env.files)
    return True
