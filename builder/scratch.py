"""Directories that builds work in: one folder per process on the store's file system, and build directories.

The folder is locked while its process lives; what dead processes left is removed by whoever comes next. On the store's
file system, because large outputs are moved from here into the blobs. Blocking on the disk.
"""

from __future__ import annotations

import fcntl
import itertools
import os

from storefs import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.config import Config


class Scratch:
    """The folder of this process below `<verglas_dir>/builds`. Thread-safe. Made when it is first needed."""

    def __init__(self, config: Config) -> None:
        self._parent = f"{config.verglas_dir}/builds"
        self._folder = ""
        self._lock = -1
        self._numbers = itertools.count(1)

    def open(self) -> None:
        """Make the folder and remove those of dead processes. Raises OSError."""
        os.makedirs(self._parent, mode=0o700, exist_ok=True)
        for name in os.listdir(self._parent):
            _remove_if_dead(f"{self._parent}/{name}")
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


def make_build_directory(config: Config, drv_name: str) -> str:
    """Make `nix-build-NAME.drv-N` in the temporary directory. Raises OSError."""
    parent = config.variable("TMPDIR") or "/tmp"
    for number in itertools.count():
        path = f"{parent}/nix-build-{drv_name}-{number}"
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
        return path
    raise AssertionError


def remove_tree(path: str) -> None:
    """Remove a directory or file and everything in it, whatever modes a builder gave it. Never raises.

    What can't be removed is named in a warning and left.
    """
    try:
        os.rmdir(path)  # most are empty by now
    except NotADirectoryError:
        _remove(os.unlink, path)
    except OSError:
        _remove_below(path)
        _remove(os.rmdir, path)


def _remove_below(path: str) -> None:
    """Remove everything in a directory, at any depth."""
    stack = [path]
    emptied: set[str] = set()
    while stack:
        folder = stack.pop()
        if folder in emptied:
            # What was in it has been tried; if it is not empty now, it stays.
            _remove(os.rmdir, folder)
            continue
        try:
            os.chmod(folder, 0o700)
            with os.scandir(folder) as found:
                entries = list(found)
        except OSError:
            continue
        if folder != path:
            emptied.add(folder)
            stack.append(folder)
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                _remove(os.unlink, entry.path)
            elif not _remove(os.rmdir, entry.path, complain=False):
                stack.append(entry.path)


def _remove(function: Callable[[str], None], path: str, *, complain: bool = True) -> bool:
    """Remove one thing; whether it is gone."""
    try:
        function(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if complain:
            logs.warn(f"'{path}' can't be removed: {error.strerror}")
        return False
    return True


def _remove_if_dead(folder: str) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        remove_tree(folder)
    finally:
        os.close(descriptor)
