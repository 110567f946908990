"""Which blob files there are, and how large: asked of the file system on all processors, beside reading the database.

One question for each file takes as long as reading its row, or longer. Compiled (MODULES in setup.py), threads take one
folder after the other and ask without the interpreter's lock, and so does whoever waits for them; as plain Python it
only works.  For stores/presence.py.  Blocks on the disk.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from stat import S_ISREG

import cython

from storefs.castore.joined_thread import JoinedThread

if cython.compiled:
    from cython.cimports.storefs.stores.blob_sizes import (
        verglas_fill_hexadecimal,
        verglas_help,
        verglas_listed,
        verglas_open_listing,
        verglas_step_aside,
        verglas_stop,
    )

    verglas_fill_hexadecimal()

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

DIGEST_SIZE = 32  # bytes: castore/digest.py has this number, and loads BLAKE3
ROW_SIZE = DIGEST_SIZE + 8
_IMPOSSIBLE = 2**64 - 1  # the size of what is no regular file
_MOST_THREADS = 8


class BlobSizes:
    """A row for every blob below a directory, found by threads between `start` and `wait`; foreign files are skipped.

    A row is the blob's digest, and its size as eight bytes, little-endian; zero where ``sizes`` are not asked for,
    which takes a third of the time.  A context manager, which ends what is under way.
    """

    def __init__(self, directory: str, sizes: bool = True) -> None:
        self._directory = directory
        self._sizes = sizes
        self._listing: object = None  # of blob_sizes.pxd
        self._folders: list[str] = []  # those that nobody has taken
        self._rows: list[bytes] = []
        self._begins = allocate_lock()  # held until the thread that was started last runs
        self._threads: list[JoinedThread] = []

    def start(self) -> None:
        """Begin; once.  Raises OSError where there is a directory that can't be read."""
        if cython.compiled:
            self._listing = verglas_open_listing(os.fsencode(self._directory), self._sizes)
        else:
            self._folders = _names(self._directory)
        # Whoever waits is one more. Where there is one processor, it does something else while the disk is waited for.
        for _ in range(min(max(2, len(os.sched_getaffinity(0))), _MOST_THREADS) - 1):
            thread = JoinedThread()
            self._begins.acquire()
            try:
                thread.start(self._run)
            except RuntimeError:
                return  # no thread can be made: those that there are do it
            self._threads.append(thread)
            with self._begins:  # or else this processor would do something else for 3 ms first
                pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if cython.compiled and self._listing is not None:
            verglas_stop(self._listing)
        self._folders = []
        for thread in self._threads:
            thread.join()

    def wait(self) -> bytes:
        """The rows, in no order; one that is in two folders, twice.  Raises what went wrong, also in a thread."""
        self._help()
        for thread in self._threads:
            error = thread.join()
            if error is not None:  # without rows all blobs would be missing
                raise error
        if cython.compiled:
            return verglas_listed(self._listing)  # type: ignore[no-any-return]
        return b"".join(self._rows)

    def _run(self) -> None:
        self._begins.release()
        if cython.compiled:
            verglas_step_aside(self._listing)
        self._help()

    def _help(self) -> None:
        """List folders until nobody has to take one; in any thread."""
        if cython.compiled:
            verglas_help(self._listing)
            return
        while self._folders:
            try:
                folder = self._folders.pop()
            except IndexError:
                return  # another thread was faster
            for name in _names(f"{self._directory}/{folder}"):
                self._rows.append(self._row(folder, name))

    def _row(self, folder: str, name: str) -> bytes:
        """Empty for what is no blob, or was removed meanwhile."""
        try:
            digest = bytes.fromhex(folder + name)
            about = os.lstat(f"{self._directory}/{folder}/{name}") if self._sizes else None
        except (FileNotFoundError, ValueError):
            return b""
        if len(digest) != DIGEST_SIZE or digest.hex() != folder + name:
            return b""
        size = 0 if about is None else about.st_size if S_ISREG(about.st_mode) else _IMPOSSIBLE
        return digest + size.to_bytes(8, "little")


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
