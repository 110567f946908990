"""The directory for everything that a run keeps on disk, which goes when the run ends, however it ends.

Disks, sockets and mounts of tests lie in it, since it is the directory for temporary files meanwhile. A process of its
own waits for the end of this one, so that they go after a SIGKILL or a closed terminal, too.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CARETAKER = """
read -r nothing # until nobody can write any more
while read -r device point rest; do
  case $point in "$1"/*) umount -l "$point" || fusermount3 -uz "$point" ;; esac
done </proc/self/mounts 2>/dev/null
for attempt in 1 2 3 4 5; do # who is being killed may still make files
  rm -rf "$1" && break
  sleep 0.2
done
"""


@contextmanager
def workplace() -> Iterator[None]:
    """Have all temporary files of this process and its children in one directory, and remove it at the end."""
    usual = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="vm-")
    with subprocess.Popen(
        ["/bin/sh", "-c", _CARETAKER, "vm-caretaker", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        start_new_session=True,  # ^C is not for it
    ):
        told = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = usual
            del os.environ["TMPDIR"]
            if told is not None:
                os.environ["TMPDIR"] = told
