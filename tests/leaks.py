"""What a test may leave behind: nothing. Snapshots of mounts, processes and descriptors, and what is new since.

Used by conftest.py around every test. It looks at the kernel's own books (/proc), so that it needs no co-operation from
the code under test. It is no sandbox: `tests.isolation` is.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
MNT_DETACH = 2  # umount2(2)

GRACE_SECONDS = 30.0  # how long a server that was told to end may take to be gone; the machine may be busy
_KILL_SECONDS = 10.0

_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent has ended: a daemon that forked twice stays in sight."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def mount_points() -> list[str]:
    """Return the mount points of this process's mount namespace, in mount order."""
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return [line.split(" ")[4].encode().decode("unicode_escape") for line in lines]


def child_processes() -> dict[int, str]:
    """Return the command lines of this process's living children by process id, adopted ones included."""
    children = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            for pid in (task / "children").read_text().split():
                children[int(pid)] = _command_line(int(pid))
    return {pid: line for pid, line in children.items() if line}


def _command_line(pid: int) -> str:
    """Return a process's command line, '' for one that is gone or a zombie."""
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}:
            return ""
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return os.fsdecode(b" ".join(words)).strip() or "?"


def open_descriptors() -> dict[int, str]:
    """Return what each open descriptor of this process is, the one used for looking left out."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return {fd: target for fd, target in found.items() if not target.startswith(f"/proc/{os.getpid()}/fd")}


class Snapshot:
    """The mounts, children and descriptors there were before a test.

    Args:
        below: only mounts beneath these directories are the test's; None when the mount namespace is our own.
    """

    def __init__(self, below: tuple[str, ...] | None) -> None:
        self._below = below
        self._mounts = mount_points()
        self._children = child_processes()
        self._descriptors = open_descriptors()

    def leaks(self) -> list[str]:
        """Return one line for everything that is new and remains, and remove it: the next test starts clean.

        Waits up to half a minute for processes that are about to end.
        """
        found = [f"process {pid}: {line}" for pid, line in self._end_processes()]
        found += [f"mount: {point}" for point in self._remove_mounts()]
        if new := self._new_descriptors():
            gc.collect()  # an object in a reference cycle may hold it; that is no leak of ours
            new = self._new_descriptors()
        return found + [f"descriptor {fd}: {target}" for fd, target in new.items()]

    def _new_descriptors(self) -> dict[int, str]:
        return {fd: target for fd, target in open_descriptors().items() if self._descriptors.get(fd) != target}

    def _end_processes(self) -> list[tuple[int, str]]:
        deadline = time.monotonic() + GRACE_SECONDS
        for pid in self._new_children():
            _wait_gone(pid, deadline)
        left = self._new_children()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        for pid in left:
            _wait_gone(pid, time.monotonic() + _KILL_SECONDS)  # not reaped: the test may still ask for its status
        return sorted(left.items())

    def _new_children(self) -> dict[int, str]:
        return {pid: line for pid, line in child_processes().items() if pid not in self._children}

    def _remove_mounts(self) -> list[str]:
        old = list(self._mounts)
        new = []
        for point in mount_points():
            if point in old:
                old.remove(point)
            elif self._below is None or point.startswith(self._below):
                new.append(point)
        for point in reversed(new):
            _libc.umount2(os.fsencode(point), MNT_DETACH)
        return new


def _wait_gone(pid: int, deadline: float) -> None:
    """Wait for the end of a process by its descriptor: no polling."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
    finally:
        os.close(fd)
