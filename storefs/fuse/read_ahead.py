"""Reading ahead across files: who reads a directory file by file finds the next ones in the page cache.

The kernel reads ahead within a file. A store's files are mostly smaller than what it reads at once, so a walk through a
tree that was not read before (tar, cp, grep -r) would wait for the disk once for each of them. Inodes of a tree are
numbered directory by directory in the order of names, which is the order of listings: a run of rising inodes is a walk.

Called by `View` in the serving thread, which waits for nothing here; threads of its own open blobs and tell the kernel
to begin reading them.
"""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    Inode = int

    class Blobs(Protocol):
        """The part of `view.Forest` that is needed here."""

        def blobs_after(self, inode: Inode, count: int) -> list[tuple[Inode, bytes, int]]:
            """Return (inode, blob digest, size) of the next files that have a blob."""

        def blob_path(self, digest: bytes) -> str:
            """Return the host path of a blob."""


_NEAR = 16  # inodes: small files and links lie between those that have a blob
_RUN = 3  # files in a row make a walk
_WINDOWS = (4, 24)  # files read ahead of it, at first and at most: it may end here
_MOST_BYTES = 512 << 10  # of one file: the kernel does the rest
_STREAMS = 4  # walks at once
_THREADS = 2


class _Walk:
    """Somebody's way through a tree."""

    __slots__ = ("asked", "last", "more_at", "run", "window")

    def __init__(self, inode: Inode) -> None:
        self.last = self.asked = self.more_at = inode
        self.run = 0
        self.window = _WINDOWS[0]


class ReadAhead:
    """See the module.

    Args:
        forest: used by the serving thread alone.
    """

    def __init__(self, forest: Blobs) -> None:
        self._forest = forest
        self._walks: list[_Walk] = []  # the latest last
        self._jobs: SimpleQueue[list[tuple[str, int]]] | None = None
        self.started = 0

    def missed(self, inode: Inode) -> None:
        """Note that a file's blob is about to be read for the first time. Does not end the forest's snapshot."""
        walk = next((walk for walk in self._walks if 0 < inode - walk.last <= _NEAR), None)
        if walk is None:
            self._walks = [*self._walks[1 - _STREAMS :], _Walk(inode)]
            return
        walk.last = inode
        walk.run += 1
        if walk.run < _RUN or inode < walk.more_at:
            return
        blobs = self._forest.blobs_after(max(inode, walk.asked), walk.window)
        if blobs:
            walk.window = min(2 * walk.window, _WINDOWS[1])
            walk.more_at = blobs[len(blobs) // 2][0]
            walk.asked = blobs[-1][0]
            self._begin([(self._forest.blob_path(digest), size) for _, digest, size in blobs])

    def _begin(self, files: list[tuple[str, int]]) -> None:
        if self._jobs is None:
            self._jobs = SimpleQueue()
            for _ in range(_THREADS):
                threading.Thread(target=_advise, args=(self._jobs,), name="read-ahead", daemon=True).start()
        self.started += len(files)
        for half in (files[::2], files[1::2]):
            self._jobs.put(half)


def _advise(jobs: SimpleQueue[list[tuple[str, int]]]) -> None:
    while True:
        for path, size in jobs.get():
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                continue  # whoever reads it is told
            try:
                os.posix_fadvise(fd, 0, min(size, _MOST_BYTES), os.POSIX_FADV_WILLNEED)
            finally:
                os.close(fd)
