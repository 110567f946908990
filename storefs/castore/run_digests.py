"""The BLAKE3 of all small files of a run with one call, which needs the interpreter lock at its two ends only.

Hashed one by one, each lets go of the lock and waits for it again, behind the thread that writes rows and does the same
for each: twenty thousand files that way are a second in which two processors do the work of one.  In plain Python the
same, file by file.  For castore/ingest.py.
"""

from __future__ import annotations

import cython

from storefs.castore.digest import digest_bytes

if cython.compiled:
    from cython.cimports.storefs.castore.run_digests import verglas_digest_files


def digest_files(text: memoryview, files: list[tuple[bytes, bool, int, int, int]], limit: int) -> list[bytes | None]:
    """Return the digests of the files of a `storefs.formats.nar.FileRun`, None of those larger than ``limit``."""
    if cython.compiled:
        found: list[bytes | None] = verglas_digest_files(text, files, limit)
        return found
    return [digest_bytes(text[start : start + size]) if size <= limit else None for _, _, size, start, _ in files]
