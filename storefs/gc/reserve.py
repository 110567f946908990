"""The reserve: a file that only takes up room, so that a collector can start on a full disk.

A copy-on-write database needs free pages even to delete; `drop_reserve` gives it some, called before the database
is opened for a collection, and `keep_reserve` puts the file back whenever the store is opened for anything else.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config


def keep_reserve(config: Config) -> None:
    """Make the reserve file if it is missing or of another size; silently does nothing where that fails."""
    path = _path(config)
    size = config.integer("gc-reserved-space")
    try:
        if os.stat(path).st_size == size:
            return
    except FileNotFoundError:
        pass
    except OSError:
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        os.ftruncate(fd, 0)
        if size:
            os.posix_fallocate(fd, 0, size)
    except OSError:
        # A half-made one would look right next time: it must not look as if it were there.
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def drop_reserve(config: Config) -> None:
    """Give the room back to the file system."""
    try:
        os.unlink(_path(config))
    except OSError:
        pass


def _path(config: Config) -> str:
    return f"{config.verglas_dir}/reserve"
