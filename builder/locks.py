"""Locks between processes on the paths that are being built, and on the users that build them.

A lock is a file `<name>.lock` below `<verglas_dir>/locks`, held with flock(2): it goes away with the process that
holds it, however that ends. Used by `derivation_builder`. Never blocks: who finds a path locked does something else
and comes back, since nothing in the kernel lets one wait for a lock and for other things at once.
"""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class FileLocks:
    """A set of locks, all held or none. A context manager that lets go of them and removes their files."""

    def __init__(self, descriptors: dict[str, int]) -> None:
        self._descriptors = descriptors

    def __enter__(self) -> FileLocks:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def release(self) -> None:
        """Let go of the locks and remove their files. Idempotent."""
        for path, descriptor in self._descriptors.items():
            # Removed while still held: whoever opened it before sees a file without a name when its turn comes.
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            os.close(descriptor)
        self._descriptors = {}


def try_lock(folder: str, names: Iterable[str]) -> FileLocks | None:
    """Lock all of `names`, or none and return None when somebody holds one of them.

    Raises OSError. Names are taken in order, so that two processes never hold half of the same set each.
    """
    locks = FileLocks({})
    for name in sorted(names):
        path = f"{folder}/{name}.lock"
        descriptor = _try_one(path)
        if descriptor is None:
            locks.release()
            return None
        locks._descriptors[path] = descriptor
    return locks


def remove_left_over(folder: str) -> None:
    """Remove the files of locks that nobody holds: those of processes that were killed. Raises OSError."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        locks = try_lock(folder, [name.removesuffix(".lock")])
        if locks is not None:
            locks.release()


def _try_one(path: str) -> int | None:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # The one who held it may have removed the file between our open and our lock.
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)
