"""Writing a large addition ahead: parts of its trees go into the database before it is registered.

Whenever what waits in memory is more than there is room for, the directories that are complete, and the files and links
of those that are not, are written by a thread in a transaction of their own; what remains of each is an inode.  No path
leads to them: a directory record *holds* them for the addition (metadata/tree_writer.py), whose area proves that it
lives.  Registering names them instead; an addition that fails, or the collector, takes them down.  While the rows of
one batch are written, the disk takes the files of the next, and contents of later ones wait in a file without a name.
The index of files is told of small ones late, by the registration, or when there are very many.

So memory is bounded by the largest directory, not by the tree.  For `stores.local_intake`, which is used in one thread.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

from storefs.castore.side_thread import SideThread
from storefs.gc.sweep import sweep_blobs, unnamed
from storefs.metadata.environment import DatabaseError, DiskFullError
from storefs.metadata.file_index import fits, index_some
from storefs.metadata.schema import DYING_KEY
from storefs.metadata.tree_release import continue_release, give_up_staged
from storefs.metadata.tree_writer import TreeWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from storefs.castore.blobs import BlobStore
    from storefs.castore.contents import Contents
    from storefs.castore.intake_area import IntakeArea
    from storefs.castore.trees import DirectoryNode, IngestedTree
    from storefs.metadata.environment import Environment, Transaction

_UNDER_WAY = 2  # batches: one whose rows are written, and one whose files the disk takes
# Batches where that is no long wait: the small contents of all but the first wait in the page cache. Half of the time
# that writing rows takes is the disk's, and what an addition hashes after many small files, it hashes meanwhile.
_SET_ASIDE = 8
# Small files that the index does not name yet. Their rows lie anywhere in it: written once for an addition they cost a
# page each at most, written with each batch that again and again. With twice as many the program had 100 MB.
_UNINDEXED = 16_000


class Staging:
    """See the module.  ``trees`` are those that were taken in and not registered yet."""

    def __init__(
        self, env: Environment, blobs: BlobStore, area: Callable[[], IntakeArea], contents: Contents, repair: bool
    ) -> None:
        self._env = env
        self._blobs = blobs
        self._area = area
        self._contents = contents
        self._repair = repair
        self.trees: list[IngestedTree] = []
        self._written = 0  # how many of them have their rows
        self._batches: list[_Batch] = []  # under way, the oldest first
        # One for all batches: each of many would have a heap of its own, and keep what LMDB's pages took there.
        self._thread: SideThread | None = None
        self._holders: set[int] = set()
        self.unindexed: dict[bytes, int] = {}  # keys and inodes of files that were written and not indexed
        self._inodes: list[range] = []  # what was given out to this addition

    def write_ahead(self, stack: Sequence[DirectoryNode]) -> None:
        """Begin to write everything that is in memory; ``stack`` are the directories that are not complete.

        Waits for an earlier batch where too many are under way; raises what that met.
        """
        area = self._area()
        digests = area.hand_over()
        # A sync of the file system would write to the disk what was set aside.
        many = any(area.takes_long_to_sync(each) for each in (digests, *(batch.digests for batch in self._batches)))
        while self._batches and (
            self._batches[0].is_written or len(self._batches) >= (_UNDER_WAY if many else _SET_ASIDE)
        ):
            self._wait_for_first()
        durable = area.begin_sync(not_durable(self._env, area, digests)) if self._blobs.synced else None
        contents = self._contents.hand_over()
        if self._batches and not many:
            contents.set_aside(area.temporary_name())
        batch = _Batch(self._env, area, contents, self._repair, self.unindexed, digests, durable)
        for place, directory in enumerate(stack):
            # The last entry of all but the innermost is the next one.
            batch.add_directory(directory, len(directory.entries) - (place < len(stack) - 1))
        batch.trees = self.trees[self._written :]
        self._written = len(self.trees)
        if self._thread is None:
            self._thread = SideThread(_Batch.write, _SET_ASIDE)
        self._thread.put(batch)
        self._batches.append(batch)

    def wait(self) -> None:
        """Wait for what is being written; raises what that met."""
        while self._batches:
            self._wait_for_first()

    def index_ahead(self) -> None:
        """Tell the index of files that were written, as far as that is too much for the registration's transaction.

        Call `wait` before.
        """
        if self.unindexed:
            _index(self._env, self.unindexed, whole=False)

    def _wait_for_first(self) -> None:
        batch, thread = self._batches[0], self._thread
        assert thread is not None
        batch.wait()
        if batch.is_written:
            self._note(self._batches.pop(0))
            return
        self._batches.clear()
        try:
            thread.drain()  # raises what it met
        finally:
            self._end_thread()

    def _end_thread(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.abort()

    def _note(self, batch: _Batch) -> None:
        self._area().let_go(batch.digests)
        self._holders.update(batch.holders)
        self._holders.difference_update(batch.released)
        self._inodes.append(batch.inodes)

    def registered(self, trees: Iterable[IngestedTree], released: Iterable[int]) -> None:
        """These trees have their paths, and the records ``released`` are gone for that; all files are indexed."""
        self.unindexed.clear()
        self._holders.difference_update(released)
        gone = {id(tree) for tree in trees}
        written, waiting = self.trees[: self._written], self.trees[self._written :]
        written = [tree for tree in written if id(tree) not in gone]
        self._written = len(written)
        self.trees = written + [tree for tree in waiting if id(tree) not in gone]

    def give_up(self) -> None:
        """Take down what was written ahead and not registered; what the disk prevents is left to the collector."""
        self._end_thread()
        for batch in self._batches:
            if batch.is_written:
                self._note(batch)
        self._batches.clear()
        if not self._holders:
            return
        owner = os.path.basename(self._area().path).encode()
        try:
            self._env.update(lambda txn: give_up_staged(self._env, txn, owner.__eq__))
            while self._env.update(lambda txn: continue_release(self._env, txn, self._is_ours)).more:
                self._env.give_way()
            sweep_blobs(self._env, self._blobs)
        except (DatabaseError, DiskFullError):
            pass

    def _is_ours(self, row: bytes, is_root: bool) -> bool:
        inode = DYING_KEY.unpack(row)[0]
        return any(inode in each for each in self._inodes)


def not_durable(env: Environment, area: IntakeArea, digests: list[bytes]) -> list[bytes]:
    """Those of an addition's blobs that are its own, or that no committed row names yet."""
    published = [digest for digest in digests if digest in area.published]
    return published + unnamed(env, [digest for digest in digests if digest not in area.published])


def _index(env: Environment, unindexed: dict[bytes, int], *, whole: bool) -> None:
    """Tell the index of these in transactions of their own: of all of them, or until one transaction is enough."""
    while unindexed:
        if not whole:
            with env.snapshot() as txn:
                if fits(env, txn, len(unindexed)):
                    return
        for key in env.update(lambda txn: index_some(env, txn, unindexed)):
            del unindexed[key]


class _Batch:
    """What one transaction writes."""

    def __init__(
        self,
        env: Environment,
        area: IntakeArea,
        contents: Contents,
        repair: bool,
        unindexed: dict[bytes, int],
        digests: list[bytes],
        durable: Callable[[], None] | None,
    ) -> None:
        """``unindexed`` is that of the addition, for the thread that writes; ``durable`` waits until the files are."""
        self._env = env
        self._area = area
        self._contents = contents
        self._repair = repair
        self._unindexed = unindexed
        self._directories: list[tuple[DirectoryNode, int]] = []
        self._durable = durable
        self._under_way = allocate_lock()
        self._under_way.acquire()
        self.is_written = False
        self.digests = digests
        self.trees: list[IngestedTree] = []
        self.holders: list[int] = []
        self.released: list[int] = []
        self.inodes = range(0)

    def add_directory(self, directory: DirectoryNode, stop: int) -> None:
        """Entries of a directory that is not complete, which may get more meanwhile, but behind ``stop``."""
        self._directories.append((directory, stop))

    def write(self) -> None:
        """Write it, in another thread than the addition's."""
        try:
            if len(self._unindexed) >= _UNINDEXED:
                _index(self._env, self._unindexed, whole=True)
            if self._durable is not None:
                self._durable()
            self._env.update(self._write)()
            self._contents.hand_over()  # what is written need not be held until somebody waits for this
            self.is_written = True
        finally:
            self._under_way.release()

    def wait(self) -> None:
        """Wait until it is written, or could not be; those before it have to be written."""
        with self._under_way:
            pass

    def _write(self, txn: Transaction) -> Callable[[], None]:
        """Write, and return what is to be done once that is committed."""
        writer = TreeWriter(self._env, txn, self._contents, self._repair, self._unindexed, defer=True)
        owner = os.path.basename(self._area.path).encode()
        directories = [(directory, stop) for directory, stop in self._directories if stop > directory.stored]
        parts = [
            writer.hold((node for _, node in directory.entries[directory.stored : stop]), owner)
            for directory, stop in directories
        ]
        roots = [writer.hold([tree.root], owner) for tree in self.trees]
        writer.finish()
        restored = self._area.ensure(writer.blobs)
        if restored:
            self._area.sync(restored)

        def committed() -> None:
            for (directory, stop), (holder, stored) in zip(directories, parts, strict=True):
                for place, node in enumerate(stored, directory.stored):
                    directory.entries[place] = (directory.entries[place][0], node)
                directory.stored = stop
                directory.holders += (holder,)
            for tree, (holder, (root,)) in zip(self.trees, roots, strict=True):
                tree.root = root
                tree.holder = holder
            self._unindexed.update(writer.unindexed)
            self.holders = [holder for holder, _ in parts + roots]
            self.released = writer.released
            self.inodes = writer.inodes

        return committed
