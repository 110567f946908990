"""A file system that nothing was ever deleted from, for measurements that make and delete many files.

An ext4 without a journal, as a virtual machine may have, does not give out an inode for some minutes after its file was
deleted, and looks at each such inode before it takes the next (fs/ext4/ialloc.c, recently_deleted): who makes 20,000
files where another has deleted as many takes seconds longer, and which of two commands in turn that is, is not theirs
to say. This one has a journal, as disks have, and no files when it begins.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import need

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZE = 40 << 30  # bytes: what the rounds of one topic leave until its end


@contextmanager
def own_disk() -> Iterator[Path]:
    """Give the root of a new ext4 in a file, read and written past the page cache of what that lies on; root only."""
    mkfs, losetup = need("mkfs.ext4", "e2fsprogs"), need("losetup", "mount")
    with tempfile.TemporaryDirectory(prefix="vg-disk-") as folder:
        image, root = f"{folder}/image", Path(folder, "root")
        root.mkdir()
        with open(image, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, _SIZE)
        subprocess.run([mkfs, "-q", "-E", "lazy_itable_init=1", image], check=True)
        words = [losetup, "--find", "--show", "--direct-io=on", image]
        device = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        try:
            # Nothing is initialized in the background meanwhile.
            subprocess.run(["mount", "-o", "noinit_itable", device, root], check=True)
            try:
                yield root
            finally:
                # What removes left-overs may still be there; the device goes with it.
                subprocess.run(["umount", "--lazy", root], check=True)
        finally:
            subprocess.run([losetup, "--detach", device], check=True)
