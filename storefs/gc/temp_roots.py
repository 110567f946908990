"""Temporary roots: what running processes need kept, valid or not.

    <state_dir>/temproots/<pid>[-<n>]   store paths, each ended by NUL; locked (flock) by its process while it lives
    <state_dir>/gc.lock                 shared: while a root is appended; exclusive: while a collector deletes one batch

The exclusive lock spans a collector's last look at the roots and the commit of its deletions.  So once `TempRoots.add`
returns, either the collector has seen the root, or its deletion has been committed and a look at the database tells.
"""

from __future__ import annotations

import atexit
import fcntl
import os
from _thread import allocate_lock

from storefs.errors import StoreError
from storefs.formats.store_path import BadStorePath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from storefs.formats.store_path import StoreDir, StorePath


class TempRootError(StoreError):
    """A temporary root can't be written."""


class CollectorLock:
    """``gc.lock``, shared or exclusive, for the length of a ``with`` block; for one thread at a time."""

    __slots__ = ("_fd", "_mutex", "_path", "exclusive")

    def __init__(self, state_dir: str, exclusive: bool) -> None:
        self._path = f"{state_dir}/gc.lock"
        self._fd = -1
        self._mutex = allocate_lock()
        self.exclusive = exclusive

    def __enter__(self) -> CollectorLock:
        self._mutex.acquire()
        try:
            if self._fd < 0:
                self._fd = _open_making_parents(self._path)
            fcntl.flock(self._fd, fcntl.LOCK_EX if self.exclusive else fcntl.LOCK_SH)
        except OSError as error:
            self._mutex.release()
            raise TempRootError(f"cannot lock '{self._path}': {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._mutex.release()

    def close(self) -> None:
        """Close the file; the lock can be taken again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class TempRoots:
    """The temporary roots of this process.  Usable from any thread; they end with `close` or with the process."""

    __slots__ = ("_fd", "_lock", "_mutex", "_path", "_paths", "_state_dir", "_store_dir")

    def __init__(self, state_dir: str, store_dir: StoreDir) -> None:
        self._state_dir = state_dir
        self._store_dir = store_dir
        self._lock = CollectorLock(state_dir, exclusive=False)
        self._mutex = allocate_lock()
        self._paths: set[str] = set()
        self._path = ""
        self._fd = -1

    def add(self, path: StorePath) -> None:
        """Keep ``path`` while this process lives.  Blocks for the length of a collector's batch at most.

        Raises TempRootError.
        """
        with self._mutex:
            if path.base_name in self._paths:
                return
            with self._lock:
                try:
                    if self._fd < 0:
                        self._open()
                    os.write(self._fd, self._store_dir.print(path).encode() + b"\0")
                except OSError as error:
                    raise TempRootError(f"cannot write the temporary roots '{self._path}': {error.strerror}") from error
            self._paths.add(path.base_name)

    def close(self) -> None:
        """Give all of them up."""
        with self._mutex:
            if self._fd >= 0:
                atexit.unregister(self._remove)
                self._remove(os.getpid())
                os.close(self._fd)
                self._fd = -1
            self._paths.clear()
            self._lock.close()

    def _remove(self, owner: int) -> None:
        if os.getpid() == owner:  # a child has them, too, but doesn't end them
            try:
                os.unlink(self._path)
            except OSError:
                pass  # somebody removed the whole state directory

    def _open(self) -> None:
        number = 1
        while True:
            suffix = f"-{number}" if number > 1 else ""
            self._path = f"{self._state_dir}/temproots/{os.getpid()}{suffix}"
            fd = _open_making_parents(self._path)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A killed process may have left a file with our number, and a collector may just have removed it.
                if os.path.samestat(os.fstat(fd), os.stat(self._path)):
                    os.ftruncate(fd, 0)
                    self._fd = fd
                    atexit.register(self._remove, os.getpid())
                    return
            except BlockingIOError:
                number += 1  # another store object of this very process
            except FileNotFoundError:
                pass
            os.close(fd)


class TempRootReader:
    """Reads all processes' temporary roots, again and again, at little cost.  Only with the collector's lock held."""

    __slots__ = ("_known", "_state_dir", "_store_dir")

    def __init__(self, state_dir: str, store_dir: StoreDir) -> None:
        self._state_dir = state_dir
        self._store_dir = store_dir
        self._known: dict[str, tuple[int, int, list[str]]] = {}  # name -> inode, size read, base names

    def read(self) -> dict[str, str]:
        """Base names of rooted paths, each with a process that needs it ("{temp:<pid>}"); removes stale files."""
        result: dict[str, str] = {}
        directory = f"{self._state_dir}/temproots"
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return result
        for name in names:
            label = f"{{temp:{name.partition('-')[0]}}}"
            for base_name in self._read_one(f"{directory}/{name}", name):
                result[base_name] = label
        return result

    def _read_one(self, path: str, name: str) -> list[str]:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                if not os.fstat(fd).st_nlink:
                    # Its owner removed it before we had the lock, and may have made another one of the same name.
                    return self._read_one(path, name)
                # Nobody holds it: its process is gone, or has not come to lock it and will make it anew.
                os.unlink(path)
                return []
            status = os.fstat(fd)
            known = self._known.get(name)
            if known is not None and known[:2] == (status.st_ino, status.st_size):
                return known[2]
            content = os.pread(fd, status.st_size, 0)
        finally:
            os.close(fd)
        result = []
        for text in content.decode("ascii", "replace").split("\0"):
            if text:
                try:
                    result.append(self._store_dir.parse(text).base_name)
                except BadStorePath:
                    continue  # of another store that shares the state directory
        self._known[name] = (status.st_ino, status.st_size, result)
        return result


def _open_making_parents(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o600)
