"""The directory and the files of a database, as LMDB needs them before it opens them, and their names.

For `storefs.metadata.environment` alone.  Several processes may do all of this at once.  Raises OSError.
"""

from __future__ import annotations

import errno
import os

_HEADER = 4096  # bytes, of LMDB's lock file; 64 more for each reader
_UNWRITABLE = (errno.EACCES, errno.EROFS, errno.EPERM)


def prepare_directory(path: str, readers: int) -> None:
    """Make the directory ``path``, and in it LMDB's lock file for so many readers, where they are missing.

    The file is written out in full, because touching a hole of a mapped file on a full disk is a SIGBUS, and gets its
    name when it is complete.  A place that may not be written to is left as it is.
    """
    final = f"{path}/lock.mdb"
    if os.path.exists(final):
        return
    os.makedirs(path, exist_ok=True)
    # Not named after the process alone: of one in another container, with the same number, this might be the lock file.
    temporary = f"{path}/lock-{os.getpid()}-{os.urandom(4).hex()}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(bytes(64 * readers + _HEADER))
        os.link(temporary, final)
    except FileExistsError:
        pass  # another process was faster
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def sync_names(path: str) -> None:
    """Make the names of the files in ``path`` durable, and of the two directories above it.

    Before the first commit: whoever finds that one relies on the names, and the process that made them may not have
    come to this.  Blocks on the disk.
    """
    from storefs.durable import sync_directory  # noqa: PLC0415  queries do without

    parent = os.path.dirname(path)
    for folder in (path, parent, os.path.dirname(parent)):
        sync_directory(folder)
