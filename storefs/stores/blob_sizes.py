"""Which blob files there are, and how large: asked of the file system by a process of its own where there are many.

One question for each file takes as long as reading its row, and another processor can ask it meanwhile.  This file is
that process's program, too, so it imports no more than that takes.  For stores/presence.py.  Blocks on the disk.
"""

from __future__ import annotations

import os
import sys
from stat import S_ISREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

DIGEST_SIZE = 32  # bytes: castore/digest.py has this number, and loads BLAKE3
ROW_SIZE = DIGEST_SIZE + 8
_IMPOSSIBLE = 2**64 - 1  # the size of what is no regular file
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PROGRAM = (
    f"import sys; sys.path.append({_ROOT!r}); from storefs.stores.blob_sizes import list_blobs;"
    "open(1, 'wb').write(list_blobs(sys.argv[1]))"
)


def list_blobs(directory: str) -> bytes:
    """A row for every blob below ``directory``, in no particular order; foreign files are skipped.

    That is its digest, and its size as eight bytes, little-endian.
    """
    found = []
    status = os.lstat
    digest_of = bytes.fromhex
    for folder in _names(directory):
        for name in _names(f"{directory}/{folder}"):
            try:
                about = status(f"{directory}/{folder}/{name}")
                digest = digest_of(folder + name)
            except (FileNotFoundError, ValueError):
                continue  # removed meanwhile, or not named as a blob is
            if len(digest) == DIGEST_SIZE:
                size = about.st_size if S_ISREG(about.st_mode) else _IMPOSSIBLE
                found.append(digest + size.to_bytes(8, "little"))
    return b"".join(found)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


class BlobSizes:
    """The answer of `list_blobs`, which a process can work out meanwhile.  A context manager."""

    __slots__ = ("_answer", "_directory", "_process", "_program")

    def __init__(self, directory: str, *, program: str = _PROGRAM) -> None:
        """``program`` is replaced by tests."""
        self._directory = directory
        self._program = program
        self._process = 0
        self._answer = -1

    def start(self) -> None:
        """Have a process begin, which takes 10 ms; without, `wait` does it all."""
        self._answer = os.memfd_create("blob-sizes")
        self._process = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", self._program, self._directory],
            {},
            file_actions=[(os.POSIX_SPAWN_DUP2, self._answer, 1), (os.POSIX_SPAWN_DUP2, 1, 2)],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            os.kill(self._process, 9)
            self._wait()
        if self._answer >= 0:
            os.close(self._answer)

    def wait(self) -> bytes:
        """The rows of every blob."""
        if self._process and self._wait() == 0:
            return os.pread(self._answer, os.fstat(self._answer).st_size, 0)
        return list_blobs(self._directory)  # somebody killed it, or it will say here what is wrong

    def _wait(self) -> int:
        _, status = os.waitpid(self._process, 0)
        self._process = 0
        return status
