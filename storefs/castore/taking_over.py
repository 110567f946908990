"""Takes a file of somewhere else over into a directory that is ours, by renaming it, or by copying across file systems.

For `storefs.castore.intake_area`.  Raises OSError; blocks on the disk.
"""

from __future__ import annotations

import errno
import os

_PIECE = 1 << 20


def take_over(source: str, path: str, mode: int) -> None:
    """Make the regular file ``source``, which has one name, the file ``path``, with this mode, and root's if we are.

    Nobody else may be able to write to it; ``path`` lies where nobody else can exchange names.
    """
    try:
        os.rename(source, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, path, mode)
        return
    # By descriptor, and only in its new place: so no link leads mode and owner to another file.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_nlink != 1:
            raise OSError(errno.EMLINK, "it has a second name", path)
        os.fchmod(descriptor, mode)
        if os.geteuid() == 0:
            os.fchown(descriptor, 0, 0)
    finally:
        os.close(descriptor)


def _copy(source: str, path: str, mode: int) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        writing = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            while os.sendfile(writing, reading, None, _PIECE):
                pass
        finally:
            os.close(writing)
    finally:
        os.close(reading)
