"""From NAR events to files of the host's file system: `nix-store --restore`, and whoever unpacks a tree.

Refuses what exists already and never leaves the destination: names were checked by the NAR reader, and every object is
made with O_EXCL, mkdir or symlink below a directory that was made here.  Works at any depth.
"""

from __future__ import annotations

import os

from storefs.errors import StoreError
from storefs.formats.nar import Directory, Regular, Symlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.formats.nar import Event

_LONGEST_PATH = 1500  # bytes; a longer one is continued relative to an open directory, which is also faster


class RestoreError(StoreError):
    """A tree can't be written to the host's file system."""


def restore(events: Iterable[Event], destination: str) -> None:
    """Write the tree to ``destination``, which must not exist; what was written before an error stays.

    Raises RestoreError, and whatever the source of events raises.
    """
    files = _Files(os.fsencode(destination))
    try:
        for event in events:
            try:
                files.take(event)
            except OSError as error:
                raise RestoreError(f"cannot write '{os.fsdecode(files.path)}': {error.strerror}") from error
    finally:
        files.close()


class _Files:
    """What is written, and where the events are in it."""

    def __init__(self, top: bytes) -> None:
        self.path = top  # what was begun last
        self._top = top
        self._directories: list[tuple[bytes, int]] = []  # as the kernel is asked, descriptor that it goes through or -1
        self._open = -1
        self._left = 0  # bytes of the open file

    def take(self, event: Event) -> None:
        """Write what the event tells; raises OSError."""
        if isinstance(event, (bytes, bytearray, memoryview)):
            self._left -= len(event)
            view = memoryview(event)
            while view:
                view = view[os.write(self._open, view) :]
        elif isinstance(event, (Directory, Regular, Symlink)):
            self.path = self._directories[-1][0] + b"/" + event.name if self._directories else self._top
            if isinstance(event, Regular):
                mode = 0o777 if event.executable else 0o666
                self._open = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
                self._left = event.size
            elif isinstance(event, Directory):
                self._directory()
            else:
                os.symlink(event.target, self.path)
        else:
            _, anchor = self._directories.pop()
            if anchor >= 0:
                os.close(anchor)
        if self._open >= 0 and not self._left:
            complete, self._open = self._open, -1
            os.close(complete)

    def _directory(self) -> None:
        os.mkdir(self.path)
        path, anchor = self.path, -1
        if len(path) > _LONGEST_PATH:
            anchor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            path = b"/proc/self/fd/%d" % anchor
        self._directories.append((path, anchor))

    def close(self) -> None:
        """Let go of what an error left open."""
        if self._open >= 0:
            os.close(self._open)
        for _, anchor in self._directories:
            if anchor >= 0:
                os.close(anchor)
