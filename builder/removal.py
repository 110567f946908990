"""Removes what builders left: trees of any depth and modes, with links and names that an accomplice may still change.

By descriptors only. A builder whose sandbox shared something with the host may have handed out a descriptor of a
directory, so that names in it can change while it is removed; root must not be led to other places by that. Blocking on
the disk. Used wherever the builder cleans up.
"""

from __future__ import annotations

import itertools
import os

from storefs import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# A file system that gives freed blocks back to the disk at once (ext4 with `discard` and no journal) waits for the disk
# at every file, and the disk answers many as fast as one: on a busy one 20,000 files took 45 s with one thread, 10 with
# four, 5 with sixteen.
_THREADS = 16
_WORTH_THREADS = 16  # directories

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove a directory or file and everything in it, whatever modes a builder gave it. Never raises.

    What can't be removed is named in a warning and left, in the top directory.
    """
    try:
        os.rmdir(path)  # most are empty by now
    except NotADirectoryError:
        _attempt(path, os.unlink, path)
    except FileNotFoundError:
        pass
    except OSError:
        _Removal(path).run()
        _attempt(path, os.rmdir, path)


class _Removal:
    """Empties a directory.

    A directory in it that is not empty is moved to the top before its turn comes. So two descriptors are enough for any
    depth, one more for each further thread, and no path leads through a name that somebody may exchange for a link.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._top = -1
        self._waiting: list[str] = []  # directories in the top one
        self._fresh = f".removed-{os.urandom(8).hex()}"
        self._moved = itertools.count(1)
        self._privileged = os.geteuid() == 0  # and may read and move whatever its modes

    def run(self) -> None:
        try:
            if not self._privileged:
                os.chmod(self._path, 0o700)
            self._top = os.open(self._path, _DIRECTORY)
        except OSError:
            return  # that it can't be removed either will be said
        try:
            self._empty(self._top, "")
            while self._waiting:
                names, self._waiting = self._waiting, []
                if len(names) < _WORTH_THREADS:
                    for name in names:
                        self._remove(name)
                    continue
                from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  8 ms that small trees do without

                with ThreadPoolExecutor(_THREADS, "remove") as pool:
                    list(pool.map(self._remove, names))
        finally:
            os.close(self._top)

    def _remove(self, name: str) -> None:
        """Remove one directory of the top one, but for the directories in it, which are waiting then."""
        shown = f"{self._path}/{name}"
        if _attempt(shown, self._enter, name):
            _attempt(shown, os.rmdir, name, dir_fd=self._top)

    def _enter(self, name: str) -> None:
        folder = os.open(name, _DIRECTORY, dir_fd=self._top)
        try:
            self._empty(folder, f"{name}/")
        finally:
            os.close(folder)

    def _empty(self, folder: int, prefix: str) -> None:
        with os.scandir(folder) as found:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        for name, is_directory in entries:
            shown = f"{self._path}/{prefix}{name}"
            if not is_directory:
                _attempt(shown, os.unlink, name, dir_fd=folder)
                continue
            try:
                os.rmdir(name, dir_fd=folder)
            except OSError:
                _attempt(shown, self._postpone, folder, name)

    def _postpone(self, folder: int, name: str) -> None:
        if not self._privileged:
            os.chmod(name, 0o700, dir_fd=folder)
        if folder != self._top:
            fresh = f"{self._fresh}-{next(self._moved)}"
            os.rename(name, fresh, src_dir_fd=folder, dst_dir_fd=self._top)
            name = fresh
        self._waiting.append(name)


def _attempt(shown: str, function: Callable[..., object], *arguments: object, **keywords: object) -> bool:
    """Do one thing to what is shown as `shown`; whether that worked, or was not needed."""
    try:
        function(*arguments, **keywords)
    except FileNotFoundError:
        return True
    except OSError as error:
        logs.warn(f"'{shown}' can't be removed: {error.strerror}")
        return False
    return True
