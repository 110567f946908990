"""Which blob files there are, and how large: asked of the file system in a thread, beside whoever reads the database.

One question for each file takes as long as reading its row. Compiled (MODULES in setup.py), the thread asks without the
interpreter's lock, on another processor; as plain Python it only works.  For stores/presence.py.  Blocks on the disk.
"""

from __future__ import annotations

import os
from stat import S_ISREG

import cython

from storefs.castore.joined_thread import JoinedThread

if cython.compiled:
    from cython.cimports.storefs.stores.blob_sizes import (
        verglas_fill_hexadecimal,
        verglas_list_blobs,
        verglas_sorted_rows,
    )

    verglas_fill_hexadecimal()

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

DIGEST_SIZE = 32  # bytes: castore/digest.py has this number, and loads BLAKE3
ROW_SIZE = DIGEST_SIZE + 8
_IMPOSSIBLE = 2**64 - 1  # the size of what is no regular file


def list_blobs(directory: str, sizes: bool = True) -> bytes:
    """A row for every blob below ``directory``, as `sorted_rows` has them; foreign files are skipped.

    That is its digest, and its size as eight bytes, little-endian; zero where ``sizes`` are not asked for, which takes
    a third of the time.  Raises OSError.
    """
    if cython.compiled:
        return verglas_list_blobs(os.fsencode(directory), sizes)  # type: ignore[no-any-return]
    found = []
    for folder in _names(directory):
        for name in _names(f"{directory}/{folder}"):
            try:
                digest = bytes.fromhex(folder + name)
                about = os.lstat(f"{directory}/{folder}/{name}") if sizes else None
            except (FileNotFoundError, ValueError):
                continue  # removed meanwhile, or not named as a blob is
            if len(digest) == DIGEST_SIZE and digest.hex() == folder + name:
                size = 0 if about is None else about.st_size if S_ISREG(about.st_mode) else _IMPOSSIBLE
                found.append(digest + size.to_bytes(8, "little"))
    return sorted_rows(b"".join(found))


def sorted_rows(rows: bytes) -> bytes:
    """Rows in ascending order, each once."""
    if cython.compiled:
        return verglas_sorted_rows(rows)  # type: ignore[no-any-return]
    return b"".join(sorted({rows[start : start + ROW_SIZE] for start in range(0, len(rows), ROW_SIZE)}))


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


class BlobSizes:
    """The answer of `list_blobs`, which a thread works out meanwhile.  A context manager, which waits for its end."""

    def __init__(self, directory: str, sizes: bool = True) -> None:
        self._directory = directory
        self._sizes = sizes
        self._rows = b""
        self._thread = JoinedThread()

    def start(self) -> None:
        """Begin; once."""
        self._thread.start(self._list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def wait(self) -> bytes:
        """The rows of every blob; raises what `list_blobs` raised."""
        error = self._thread.join()
        if error is not None:  # without rows all blobs would be missing
            raise error
        return self._rows

    def _list(self) -> None:
        self._rows = list_blobs(self._directory, self._sizes)
