"""What an addition does with each of thousands of blobs, done with many of them by one call.

Every system call lets go of the interpreter lock and waits for it again, behind threads that read, hash and write rows;
compiled, hundreds of blobs do that once, and their names are looked up in open folders.  In plain Python the same, call
by call.  For castore/intake_area.py, where areas and links are explained.  Folders are bytes; in that of the blobs the
first ``digits`` of a name are a folder's, in an area none.
"""

from __future__ import annotations

import errno
import os

import cython

from storefs.castore.taking_over import take_over
from storefs.castore.whole_files import write_new

if cython.compiled:
    from cython.cimports.storefs.castore.many_blobs import (
        verglas_first_missing,
        verglas_link_all,
        verglas_move_all,
        verglas_unlink_all,
        verglas_write_all,
    )

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    # The digest of a file, where its contents begin in the text, and their size.
    File = tuple[bytes, int, int]
    # The digest of a file, its name in a folder, and its size.
    MovableFile = tuple[bytes, bytes, int]

# What there is in the area now, under the name of a file:
WRITTEN = 0  # the file
FOUND = 1  # a link to a blob of the same size
REPLACES = 2  # the file; there was a blob that can't be what its name says
_ELSEWHERE = 4  # not the file yet, which is on another file system


def write_all(text: memoryview, files: Sequence[File], area: bytes, blobs: bytes, digits: int, mode: int) -> list[int]:
    """Link the blobs that are there already into the area, and write the other files there.

    Returns what was done for each.  Raises OSError, with the name in the area that it is about.
    """
    if cython.compiled:
        done: list[int] = verglas_write_all(text, files, area, blobs, digits, mode)
        return done
    done = []
    for digest, start, size in files:
        link = area + b"/" + digest.hex().encode()
        found = _find(_name(digest, blobs, digits), link, size)
        done.append(found)
        if found != FOUND:
            try:
                write_new(link, text[start : start + size], mode)
            except OSError as error:
                raise OSError(error.errno, error.strerror, link) from error
    return done


def move_all(
    folder: bytes, files: Sequence[MovableFile], area: bytes, blobs: bytes, digits: int, mode: int
) -> list[int]:
    """The same with files of a folder, which have one name each and become ours, see `take_over`."""
    if cython.compiled:
        done: list[int] = verglas_move_all(folder, files, area, blobs, digits, mode)
    else:
        found = [
            _find(_name(digest, blobs, digits), area + b"/" + digest.hex().encode(), size) for digest, _, size in files
        ]
        done = [what if what == FOUND else what | _ELSEWHERE for what in found]
    for place, (digest, name, _) in enumerate(files):
        if done[place] & _ELSEWHERE:
            take_over(os.fsdecode(folder + b"/" + name), f"{os.fsdecode(area)}/{digest.hex()}", mode)
            done[place] -= _ELSEWHERE
    return done


def link_all(digests: Sequence[bytes], start: int, area: bytes, blobs: bytes, digits: int) -> int:
    """Give what is in the area its name among the blobs, from the digest at ``start`` on.

    A name that is there already stays.  Returns the place of the first that can't have its name, or how many there are.
    """
    if cython.compiled:
        stop: int = verglas_link_all(digests, start, area, blobs, digits)
        return stop
    for place in range(start, len(digests)):
        try:
            os.link(area + b"/" + digests[place].hex().encode(), _name(digests[place], blobs, digits))
        except FileExistsError:
            pass
        except OSError:
            return place
    return len(digests)


def first_missing(digests: Sequence[bytes], start: int, blobs: bytes, digits: int) -> int:
    """The place of the first, from ``start`` on, that has no name among the blobs, or how many there are."""
    if cython.compiled:
        stop: int = verglas_first_missing(digests, start, blobs, digits)
        return stop
    for place in range(start, len(digests)):
        if not os.path.lexists(_name(digests[place], blobs, digits)):
            return place
    return len(digests)


def unlink_all(digests: Sequence[bytes], area: bytes) -> None:
    """Take the names of all these out of the area.  Raises OSError, with the name that it is about."""
    if cython.compiled:
        verglas_unlink_all(digests, area)
        return
    for digest in digests:
        os.unlink(area + b"/" + digest.hex().encode())


def _name(digest: bytes, folder: bytes, digits: int) -> bytes:
    text = digest.hex().encode()
    return b"%b/%b/%b" % (folder, text[:digits], text[digits:])


def _find(blob: bytes, link: bytes, size: int) -> int:
    try:
        os.link(blob, link)
    except OSError as error:
        # Tens of thousands of additions at once: this one's becomes a second copy for a moment.
        if error.errno not in (errno.ENOENT, errno.EMLINK):
            raise
        return WRITTEN
    if os.lstat(link).st_size == size:
        return FOUND
    os.unlink(link)
    return REPLACES
