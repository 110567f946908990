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
    top = os.fsencode(destination)
    directories: list[tuple[bytes, int]] = []  # path as the kernel is asked, descriptor that it goes through or -1
    open_file = -1
    left = 0
    path = top
    try:
        for event in events:
            if isinstance(event, (Directory, Regular, Symlink)):
                path = directories[-1][0] + b"/" + event.name if directories else top
            if isinstance(event, Regular):
                mode = 0o777 if event.executable else 0o666
                open_file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
                left = event.size
            elif isinstance(event, Directory):
                os.mkdir(path)
                anchor = -1
                if len(path) > _LONGEST_PATH:
                    anchor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                    path = b"/proc/self/fd/%d" % anchor
                directories.append((path, anchor))
            elif isinstance(event, Symlink):
                os.symlink(event.target, path)
            elif isinstance(event, (bytes, bytearray, memoryview)):
                left -= len(event)
                view = memoryview(event)
                while view:
                    view = view[os.write(open_file, view) :]
            else:
                _, anchor = directories.pop()
                if anchor >= 0:
                    os.close(anchor)
            if open_file >= 0 and not left:
                os.close(open_file)
                open_file = -1
    except OSError as error:
        raise RestoreError(f"cannot write '{os.fsdecode(path)}': {error.strerror}") from error
    finally:
        if open_file >= 0:
            os.close(open_file)
        for _, anchor in directories:
            if anchor >= 0:
                os.close(anchor)
