"""Command lines that root turns into those of an ordinary user, on a machine that this module arranges.

Everything happens in a mount namespace of the command's own: a /dev/fuse with a mode of the test's choosing (containers
often have one for root alone), and files made unusable. Nothing outside changes, and nothing has to be undone.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
UID = 54321  # nobody's
# Documentation/admin-guide/devices.txt
FUSE_DEVICE = "10 229"
OTHER_DEVICES = {"null": "1 3", "zero": "1 5", "full": "1 7", "random": "1 8", "urandom": "1 9"}


def command_line(
    words: list[str],
    *,
    uid: int = UID,
    fuse: int | None = 0o666,
    without: tuple[str, ...] = (),
    namespaces: bool = True,
) -> list[str]:
    """Return the command line by which root runs `words` as the user `uid`.

    Args:
        words: program (an absolute path, or found on PATH) and arguments.
        uid: user and group; 0 stays root.
        fuse: the mode of /dev/fuse, None for no such device.
        without: files that are to look as if they could not be executed, nor be read as what they were.
        namespaces: False makes the kernel refuse user namespaces, as it does to whoever lives in a chroot.
    """
    stage = "/run" if os.path.isdir("/run") else "/mnt"
    script = ["set -e", "here=$PWD", f"mount -t tmpfs -o mode=755 none {stage}", f"cd {stage}"]
    if fuse is None:
        script += ["mkdir dev", *(f"mknod -m 666 dev/{name} c {number}" for name, number in OTHER_DEVICES.items())]
        script += ["ln -s /proc/self/fd dev/fd", "mkdir -m 1777 dev/shm", "mount --rbind dev /dev"]
    else:
        script += [f"mknod -m {fuse:o} fuse c {FUSE_DEVICE}", "mount --bind fuse /dev/fuse"]
    for file in without:
        script += [": >nothing", "chmod 000 nothing", f"mount --bind nothing {shlex.quote(os.path.realpath(file))}"]
    become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
    if namespaces:
        script += ['cd "$here"', f"umount -l {stage}", 'exec "$@"']
    else:
        script += ["mkdir root", "mount --rbind / root"]
        script += ["""exec chroot root sh -c 'cd "$0" && exec "$@"' "$here" "$@" """]
    return ["unshare", "--mount", "--propagation=private", "sh", "-c", "\n".join(script), "sh", *become, *words]
