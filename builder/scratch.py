"""Where outputs are made: one folder per process on the store's file system, with a directory for each build.

The folder is locked while its process lives; what dead processes left is removed by whoever comes next. On the store's
file system, because large outputs are moved from here into the blobs. Blocking on the disk.

What is large and of no use any more is removed after the answer: a process of its own takes it over, with a folder and
a lock like everybody's.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import sys
from _thread import allocate_lock

from builder import locks
from builder.cgroups import remove_left_over
from builder.removal import remove_tree
from storefs.placement import spread_folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config

_PROCESS_PAYS = 1000  # files and directories
REMOVE = "from builder.removal import remove_tree; remove_tree(sys.argv[1])"


class Scratch:
    """The folder of this process below `<verglas_dir>/builds`. Thread-safe. Made when it is first needed."""

    def __init__(self, config: Config, *, program: str = REMOVE) -> None:
        """``program`` is replaced by tests."""
        self._parent = f"{config.verglas_dir}/builds"
        self._locks = f"{config.verglas_dir}/locks"
        self._folder = ""
        self._lock = -1
        self._numbers = itertools.count(1)
        self._program = program
        self._guard = allocate_lock()
        self._processes: list[int] = []  # that remove something

    def open(self) -> None:
        """Make the folder and remove those of dead processes. Raises OSError."""
        if not os.path.isdir(self._parent):
            os.makedirs(self._parent, mode=0o700, exist_ok=True)
            spread_folders(self._parent)
        left_over = [name for name in os.listdir(self._parent) if _remove_if_dead(f"{self._parent}/{name}")]
        if left_over:
            locks.remove_left_over(self._locks)
        self._folder, self._lock = _locked_folder(self._parent)

    def new_directory(self) -> str:
        """Make an empty directory for one build, with the parts that its plan needs. Raises OSError."""
        path = f"{self._folder}/{next(self._numbers)}"
        os.mkdir(path, 0o700)
        for name in ("root", "store", "work", "tmp"):
            os.mkdir(f"{path}/{name}", 0o755)
        os.chmod(f"{path}/tmp", 0o1777)
        return path

    def discard(self, path: str) -> None:
        """Have a directory of a build gone, and what is in it removed soon. Never raises."""
        self._reap()
        if not _is_large(path) or not self._hand_over(path):
            remove_tree(path)

    def _hand_over(self, path: str) -> bool:
        """Let a process remove what may take as long as all else; whether there is one. It outlives us if need be."""
        try:
            folder, lock = _locked_folder(self._parent)
        except OSError:
            return False
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.rename(path, f"{folder}/1")
            process = os.posix_spawn(
                sys.executable,
                # With our path, and so without `site`, which takes a fifth of its start.
                [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:] = {sys.path}; {self._program}", folder],
                {},
                # It holds the lock: whoever comes leaves the folder to it, or takes it over if it was killed.
                file_actions=[(os.POSIX_SPAWN_DUP2, lock, 3), *((os.POSIX_SPAWN_DUP2, nowhere, n) for n in range(3))],
                setsid=True,  # ^C is not meant for it
            )
        except OSError:
            remove_tree(folder)
            return False
        finally:
            os.close(nowhere)
            os.close(lock)
        with self._guard:
            self._processes.append(process)
        return True

    def _reap(self) -> None:
        with self._guard:
            self._processes = [each for each in self._processes if os.waitpid(each, os.WNOHANG) == (0, 0)]

    def close(self) -> None:
        """Remove the folder."""
        self._reap()
        if self._folder:
            remove_tree(self._folder)
            os.close(self._lock)
            self._folder = ""


def _locked_folder(parent: str) -> tuple[str, int]:
    """Make a folder of this process, and return the descriptor that locks it, too. Raises OSError."""
    while True:
        folder = f"{parent}/{os.getpid()}-{os.urandom(4).hex()}"
        os.mkdir(folder, 0o700)
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Between mkdir and flock it looked like one of a dead process.
        if os.fstat(lock).st_nlink and os.path.isdir(folder):
            return folder, lock
        os.close(lock)


def _is_large(path: str) -> bool:
    """Whether there is more in a directory than is removed in the time that a process takes to start."""
    count = 0
    waiting = [path]
    while waiting and count < _PROCESS_PAYS:
        try:
            with os.scandir(waiting.pop()) as found:
                entries = list(found)
        except OSError:
            continue
        count += len(entries)
        waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return count >= _PROCESS_PAYS


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
