"""Memory that is freed and wanted again at once, thousands of times: kept by the process instead of given back.

Downloads turn one piece of some megabytes after another into the next form of it.  glibc gives such pieces back to the
kernel, which clears them again for the next one: a third of the system time of fetching a closure.  Source: mallopt(3).
"""

from __future__ import annotations

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT = 64 << 20  # bytes at the end of a heap
_LARGEST = 8 << 20  # bytes: larger pieces are rare, and still go back


def keep_freed_memory() -> None:
    """Let this process keep up to 64 MiB that it has freed; for a command or a worker whose work is copying.

    Does nothing where the C library has no such setting.
    """
    import ctypes  # noqa: PLC0415  4 ms that only large transfers pay

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return  # not glibc
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
    mallopt(_M_MMAP_THRESHOLD, _LARGEST)
