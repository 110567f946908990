"""Mirrors of repositories, in the user's cache directory: who may change one, and when that is needed.

For `git_trees` and `mercurial_trees`, which know how. Whoever reads a mirror takes no lock: git and Mercurial are made
for readers beside one writer. The lock is inherited by the program that writes, so it lasts until that has ended, even
if the one who started it was killed. Blocking.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from contextlib import contextmanager

from storefs.logs import NOTICE, hint, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from storefs.config import Config


class Mirror:
    """The mirror of one repository.

    Args:
        config: for the cache directory, and for how long what was fetched is current.
        kind: the name of the folder in it.
        url: what is mirrored.
        stamp: a file in the mirror that says when the last fetch began that has ended; without it there is no mirror.

    Attributes:
        path: where it lies.
    """

    def __init__(self, config: Config, kind: str, url: str, stamp: str) -> None:
        key = hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()
        self.path = f"{config.xdg('cache')}/verglas/{kind}/{key}"
        self._url = url
        self._stamp = f"{self.path}/{stamp}"
        self._life = config.integer("tarball-ttl") * 10**9

    def update(self, suffices: Callable[[], bool] | None, fetch: Callable[[int], object]) -> bool:
        """Fetch if that is needed, once for all who want it at the same time. Returns whether this call fetched.

        Args:
            suffices: whether what was fetched before has what is wanted; None asks how long ago that was.
            fetch: does it, in the mirror that was there or where there is nothing; its programs are to inherit the
                descriptor that it is given.
        """
        asked = time.time_ns()
        if self._is_current(suffices, asked - self._life + 1):
            return False
        with self._locked() as descriptor:
            if self._is_current(suffices, min(asked, asked - self._life + 1)):
                return False
            if not os.path.exists(self._stamp):
                shutil.rmtree(self.path, ignore_errors=True)  # of one who was killed
            begun = time.time_ns()
            hint(f"fetching '{self._url}'...")
            fetch(descriptor)
            with open(self._stamp, "w", encoding="utf-8"):
                pass
            os.utime(self._stamp, ns=(begun, begun))
        return True

    def _is_current(self, suffices: Callable[[], bool] | None, since: int) -> bool:
        try:
            fetched = os.stat(self._stamp).st_mtime_ns
        except FileNotFoundError:
            return False
        return fetched >= since if suffices is None else suffices()

    @contextmanager
    def _locked(self) -> Iterator[int]:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log(NOTICE, f"waiting until somebody else has fetched '{self._url}'...")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)
