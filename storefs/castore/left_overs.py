"""What an intake area holds, read and removed from outside: for the addition's own end, and after one that was killed.

Layout of an area: see `blobs`. Blocking, OSError where the file system refuses. For `blobs` and gc/sweep.py.
"""

from __future__ import annotations

import os

from storefs.castore.digest import DIGEST_SIZE


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
    with os.scandir(path) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if status.st_nlink == 1:
                freed += status.st_blocks * 512
            os.unlink(entry.path)
    os.rmdir(path)
    return freed
