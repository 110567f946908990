"""What an intake area holds, read and removed from outside: for the addition's own end, and after one that was killed.

Layout of an area: see `blobs`. Blocking, OSError where the file system refuses. For `blobs` and gc/sweep.py.
"""

from __future__ import annotations

import os

from storefs.castore.digest import DIGEST_SIZE

# A file system that gives freed blocks back to the disk at once waits for it at every file; see `builder.removal`.
_THREADS = 4
_WORTH_THREADS = 64  # files


def digests_in_area(path: str) -> list[bytes]:
    """What an addition that was killed had published or relied on."""
    result = []
    for name in os.listdir(path):
        if len(name) == 2 * DIGEST_SIZE:
            try:
                result.append(bytes.fromhex(name))
            except ValueError:
                continue
    return result


def remove_area(path: str) -> int:
    """Remove an area's directory with all its links and return the bytes that only it held."""
    freed = 0
    last: list[str] = []  # links whose files end with them
    with os.scandir(path) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if status.st_nlink == 1:
                freed += status.st_blocks * 512
                last.append(entry.path)
            else:
                os.unlink(entry.path)
    if len(last) < _WORTH_THREADS:
        _unlink(last)
    else:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  8 ms that additions do without

        with ThreadPoolExecutor(_THREADS, "unlink") as pool:
            list(pool.map(_unlink, [last[first::_THREADS] for first in range(_THREADS)]))
    os.rmdir(path)
    return freed


def _unlink(paths: list[str]) -> None:
    for path in paths:
        os.unlink(path)
