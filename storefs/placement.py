"""Where a file system puts new folders: a hint for directories that hold one short-lived folder after another.

Ext4 makes a new directory, and the files in it, in the block group of its parent.  A file system without a journal will
not give an inode out again for minutes after it was deleted (`recently_deleted` in the kernel's fs/ext4/ialloc.c) and
looks at every such inode for every file that it makes: a folder that is filled and emptied again and again costs more
system time for each file than all the rest.  The attribute `T` of chattr(1) starts every folder in a group of its own.
"""

from __future__ import annotations

import fcntl
import os
import sys

# ioctl_iflags(2), ext4's EXT4_TOPDIR_FL; the requests are defined with a long and pass an int
_GET_FLAGS = 0x80086601
_SET_FLAGS = 0x40086602
_TOP_OF_HIERARCHIES = 0x00020000


def spread_folders(path: str) -> None:
    """Ask for unrelated places for the folders that will be made in the directory ``path``; no more than a hint.

    Does nothing where the file system has no such attribute or the caller may not set it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        flags = int.from_bytes(fcntl.ioctl(fd, _GET_FLAGS, bytes(4)), sys.byteorder)
        fcntl.ioctl(fd, _SET_FLAGS, (flags | _TOP_OF_HIERARCHIES).to_bytes(4, sys.byteorder))
    except OSError:
        pass
    finally:
        os.close(fd)
