"""Where outputs are made: one folder per process on the store's file system, with a directory for each build.

The folder is locked while its process lives; what dead processes left is removed by whoever comes next. On the store's
file system, because large outputs are moved from here into the blobs. Blocking on the disk.
"""

from __future__ import annotations

import fcntl
import itertools
import os

from builder import locks
from builder.cgroups import remove_left_over
from builder.removal import remove_tree
from storefs.placement import spread_folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config


class Scratch:
    """The folder of this process below `<verglas_dir>/builds`. Thread-safe. Made when it is first needed."""

    def __init__(self, config: Config) -> None:
        self._parent = f"{config.verglas_dir}/builds"
        self._locks = f"{config.verglas_dir}/locks"
        self._folder = ""
        self._lock = -1
        self._numbers = itertools.count(1)

    def open(self) -> None:
        """Make the folder and remove those of dead processes. Raises OSError."""
        if not os.path.isdir(self._parent):
            os.makedirs(self._parent, mode=0o700, exist_ok=True)
            spread_folders(self._parent)
        left_over = [name for name in os.listdir(self._parent) if _remove_if_dead(f"{self._parent}/{name}")]
        if left_over:
            locks.remove_left_over(self._locks)
        while not self._folder:
            folder = f"{self._parent}/{os.getpid()}-{os.urandom(4).hex()}"
            try:
                os.mkdir(folder, 0o700)
                self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            # Between mkdir and flock it looked like one of a dead process.
            if os.fstat(self._lock).st_nlink and os.path.isdir(folder):
                self._folder = folder
            else:
                os.close(self._lock)

    def new_directory(self) -> str:
        """Make an empty directory for one build, with the parts that its plan needs. Raises OSError."""
        path = f"{self._folder}/{next(self._numbers)}"
        os.mkdir(path, 0o700)
        for name in ("root", "store", "work", "tmp"):
            os.mkdir(f"{path}/{name}", 0o755)
        os.chmod(f"{path}/tmp", 0o1777)
        return path

    def close(self) -> None:
        """Remove the folder."""
        if self._folder:
            remove_tree(self._folder)
            os.close(self._lock)
            self._folder = ""


def _remove_if_dead(folder: str) -> bool:
    """Remove the folder of a process if that is dead; whether it was."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        if not os.fstat(descriptor).st_nlink:
            return False  # another process removed it before we had the lock
        for name in os.listdir(folder):
            remove_left_over(f"{folder}/{name}")
        remove_tree(folder)
        return True
    finally:
        os.close(descriptor)
