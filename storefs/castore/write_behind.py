"""Has the contents of an addition on their way to the disk while it still reads: so that the sync at its end is short.

What the disk has taken may be in a cache of its own, which a sync has emptied, and that takes time as well: so now and
then it is asked to do that, too (measured at the end of a gigabyte: 1.4 s without, 0.2 with).

Promises nothing of what is only told to it; who has to know waits, and everybody who waits when the disk is asked for
everything is answered by that.  Its thread takes the time that starting a write takes, and sleeps while the disk works.
For `storefs.castore.intake_area`: one thread tells what was written, any may wait.
"""

from __future__ import annotations

from _thread import allocate_lock

from storefs.castore.joined_thread import JoinedThread
from storefs.durable import start_writing, sync_file, sync_file_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _queue import SimpleQueue
    from _thread import LockType
    from collections.abc import Callable

    from storefs.castore.blobs import BlobStore

_LARGE = 1 << 20  # bytes: a file of this size is worth a request of its own
# Bytes of smaller files that are worth one syncfs. A large addition waits for one every 50 MB or so, before it writes
# rows (stores/staging.py): with more than that here the disk would do nothing until then.
MANY = 32 << 20
_CACHED = 64 << 20  # bytes of large files, of all additions to a store, that the disk may have in its cache alone


class WriteBehind:
    """Watches what is written into one directory, an intake area of ``store``.  Pair with `finish`.

    Asks for nothing where nobody waits for the disk at the end, see `BlobStore.synced`.
    """

    __slots__ = ("_directory", "_error", "_grown", "_queue", "_store", "_syncing", "_thread", "_waiting")

    def __init__(self, store: BlobStore, directory: str) -> None:
        self._store = store
        self._directory = directory
        self._queue: SimpleQueue[_Request | None] | None = None  # None at the end; its thread starts with the first
        self._thread = JoinedThread()
        self._error: BaseException | None = None
        self._grown = 0  # bytes of the file that grows, which were counted
        self._waiting = 0  # bytes of small files that nobody has asked the disk to write
        self._syncing = False

    def wrote(self, path: str, size: int) -> None:
        """A file is complete and will stay.  Never blocks on the disk."""
        if size >= _LARGE:
            self._ask(path, max(0, size - self._grown))
            self._grown = 0
        else:
            self.wrote_small(size)

    def wrote_small(self, size: int) -> None:
        """Files of ``size`` bytes together are complete, as above."""
        self._waiting += size
        if self._waiting >= MANY and not self._syncing:
            self._waiting = 0
            self._syncing = True
            self._put(_Request(self._directory))

    def growing(self, path: str, size: int) -> None:
        """``size`` bytes were added to a file that is not complete, and may have another name soon.

        Never blocks on the disk.
        """
        self._grown += size
        self._ask(path, size, growing=True)

    def settle(self) -> None:
        """Wait for what was asked for; raises OSError where the disk could not write.

        The kernel tells of a failed write once: whoever syncs a file afterwards may not hear of it.
        """
        if self._queue is not None:
            self._wait(self._asked(""))
        elif self._error is not None:
            raise self._error

    def begin_sync_all(self) -> Callable[[], None]:
        """Have the disk begin to make everything on the file system durable, where its thread runs.

        The result waits for the end, once, in any thread; it raises OSError where the disk could not.
        """
        if self._queue is None:
            return lambda: sync_file_system(self._directory)
        request = self._asked(self._directory)
        return lambda: self._wait(request)

    def finish(self) -> OSError | None:
        """Wait for the requests under way, and return why the disk could not write if it could not.

        May block on the disk.
        """
        if self._queue is not None:
            self._queue.put(None)
            self._thread.join()
            self._queue = None
        if self._error is None or isinstance(self._error, OSError):
            return self._error
        raise self._error

    def _ask(self, path: str, size: int, *, growing: bool = False) -> None:
        # Threads may lose some of each other's bytes here: the disk is asked a little later then.
        self._store.cached += size
        flush = self._store.cached >= _CACHED
        if flush:
            self._store.cached = 0
        self._put(_Request(path, flush=flush, growing=growing))

    def _put(self, request: _Request) -> None:
        if not self._store.synced:
            return
        if self._queue is None:
            from _queue import SimpleQueue  # noqa: PLC0415  small additions never need one

            queue: SimpleQueue[_Request | None] = SimpleQueue()
            self._thread.start(lambda: self._run(queue))
            self._queue = queue
        self._queue.put(request)

    def _asked(self, path: str) -> _Request:
        assert self._queue is not None
        request = _Request(path)
        request.done = allocate_lock()
        request.done.acquire()
        self._queue.put(request)
        return request

    def _wait(self, request: _Request) -> None:
        assert request.done is not None
        request.done.acquire()
        if self._error is not None:
            raise self._error

    def _run(self, queue: SimpleQueue[_Request | None]) -> None:
        goes_on = True
        while goes_on:
            requests = [queue.get()]
            while not queue.empty():
                requests.append(queue.get())
            goes_on = requests[len(requests) - 1] is not None
            asked = [request for request in requests if request is not None]
            for request in asked:
                if request.path and request.path != self._directory:
                    self._begin(request)
            if any(request.path == self._directory for request in asked):
                try:
                    sync_file_system(self._directory)
                except BaseException as error:  # as below
                    self._error = error
                self._syncing = False
            for request in asked:
                if request.done is not None:
                    request.done.release()

    def _begin(self, request: _Request) -> None:
        try:
            if request.flush:
                sync_file(request.path)
            else:
                start_writing(request.path)
        except BaseException as error:  # told to whoever waits, who would wait for ever for a thread that is gone
            # What grew may have its final name by now, and was asked for by that, too.
            if not (request.growing and isinstance(error, FileNotFoundError)):
                self._error = error


class _Request:
    __slots__ = ("done", "flush", "growing", "path")

    def __init__(self, path: str, *, flush: bool = False, growing: bool = False) -> None:
        self.path = path  # of a large file, or the directory for everything in it; nothing to wait only
        self.flush = flush  # whether the disk's cache is to be emptied
        self.growing = growing
        self.done: LockType | None = None  # held until it is answered
