"""Has the contents of an addition on their way to the disk while it still reads: so that the sync at its end is short.

Promises nothing: what is durable is decided by `storefs.durable` alone, which finds less to do.  Its thread takes the
time that starting a write takes, and sleeps while the disk works.  For `storefs.castore.intake_area`; one thread asks.
"""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread

from storefs.durable import start_writing, sync_file_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _queue import SimpleQueue

_LARGE = 1 << 20  # bytes: a file of this size is worth a request of its own
_MANY = 128 << 20  # bytes of smaller files that are worth one syncfs


class WriteBehind:
    """Watches what is written into one directory's file system.  Pair with `finish`.

    Asks for nothing unless it is ``wanted``, because somebody will wait for the disk at the end.
    """

    __slots__ = ("_directory", "_done", "_error", "_queue", "_syncing", "_waiting", "_wanted")

    def __init__(self, directory: str, *, wanted: bool = True) -> None:
        self._wanted = wanted
        self._directory = directory
        self._queue: SimpleQueue[tuple[str, bool]] | None = (
            None  # ('', False) at the end; its thread starts with the first
        )
        self._done = allocate_lock()  # held while the thread runs
        self._error: OSError | None = None
        self._waiting = 0  # bytes of small files that nobody has asked the disk to write
        self._syncing = False

    def wrote(self, path: str, size: int) -> None:
        """A file is complete and will stay.  Never blocks on the disk."""
        if size >= _LARGE:
            self._ask(path)
            return
        self._waiting += size
        if self._waiting >= _MANY and not self._syncing:
            self._waiting = 0
            self._syncing = True
            self._ask(self._directory)

    def growing(self, path: str) -> None:
        """Much was added to a file that is not complete; it may have another name soon.  Never blocks on the disk."""
        self._ask(path, growing=True)

    def finish(self) -> OSError | None:
        """Wait for the requests under way, and return why the disk could not write if it could not.

        May block on the disk.
        """
        if self._queue is not None:
            self._queue.put(("", False))
            self._done.acquire()
            self._done.release()
            self._queue = None
        return self._error

    def _ask(self, path: str, *, growing: bool = False) -> None:
        if not self._wanted:
            return
        if self._queue is None:
            from _queue import SimpleQueue  # noqa: PLC0415  small additions never need one

            self._queue = SimpleQueue()
            self._done.acquire()
            start_new_thread(self._run, (self._queue,))
        self._queue.put((path, growing))

    def _run(self, queue: SimpleQueue[tuple[str, bool]]) -> None:
        try:
            while True:
                path, growing = queue.get()
                if not path:
                    return
                try:
                    if path == self._directory:
                        sync_file_system(path)
                        self._syncing = False
                    else:
                        start_writing(path)
                except OSError as error:
                    # What grew may have its final name by now, and was asked for by that, too.
                    if not (growing and isinstance(error, FileNotFoundError)):
                        self._error = error
        finally:
            self._done.release()
