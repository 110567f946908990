"""Whether what a builder left may be looked at, before anything reads it: who owns it, and who can still change it.

Blocking on the disk. Used by `outputs`, after the last process of the build is gone.
"""

from __future__ import annotations

import os
import stat

from builder.failures import OutputRejectedError


def inspect(host_path: str, owner: int, *, shown: str, private: bool) -> None:
    """Refuse an output that somebody else could have tampered with; make sure that it can be read, and not changed.

    Args:
        host_path: the output.
        owner: the uid that must own it.
        shown: what to call it in messages.
        private: whether nobody outside of the sandbox can have been handed a descriptor of a directory in it.

    Raises:
        OutputRejectedError: it has another owner, or others may write to it.
        FileNotFoundError: it is not there.
    """
    status = os.lstat(host_path)
    writable = not stat.S_ISLNK(status.st_mode) and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if writable or status.st_uid != owner:
        raise OutputRejectedError(f"suspicious ownership or permission on {shown}; rejecting this build output")
    if os.geteuid() != 0:
        _make_readable(host_path)
    elif not private and stat.S_ISDIR(status.st_mode):
        seal(host_path)


def seal(directory: str) -> None:
    """Take a directory and all directories in it away from those who still have them open. For root only.

    What is read by root must be what the builder made. An accomplice with a descriptor of a directory that everybody
    may write to could else exchange a directory for a link to /etc just before it is entered. From the top down: when a
    directory is ours, the names in it stay what they are.
    """
    stack = [directory]
    while stack:
        path = stack.pop()
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchown(descriptor, 0, 0)
            os.fchmod(descriptor, 0o755)
            with os.scandir(descriptor) as entries:
                stack += [f"{path}/{entry.name}" for entry in entries if entry.is_dir(follow_symlinks=False)]
        finally:
            os.close(descriptor)


def _make_readable(path: str) -> None:
    """Let us read what a builder of our own uid has made unreadable; root can read anyway."""
    stack = [path]
    while stack:
        current = stack.pop()
        mode = os.lstat(current).st_mode
        if stat.S_ISDIR(mode):
            # Writable too, so that the scratch directory can be removed afterwards.
            if mode & 0o700 != 0o700:
                os.chmod(current, mode | 0o700)
            with os.scandir(current) as entries:
                stack += [entry.path for entry in entries if not entry.is_symlink()]
        elif stat.S_ISREG(mode) and not mode & 0o400:
            os.chmod(current, mode | 0o400)
