"""`verglas umount`: take the store's mounts away again."""

from __future__ import annotations

import os
import sys

from storefs.errors import StoreError, UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas umount",
    "Unmount the store",
    operands="[DIR]",
    options=(Option("--lazy", "-l", help="also when it is in use: programs that use it may go on using it"),),
    description="""
Unmounts this store from DIR, by default from everywhere. The process that served it ends once nobody uses it.
""",
    examples=(("verglas umount", "take away every mount of the store"),),
)


def run(invocation: Invocation) -> int:
    """Unmount, and wait until idle mount processes have ended."""
    from storefs.fuse.unmount import unmount_store
    from storefs.stores.mount_table import store_mounts

    if "" in invocation.operands:
        raise UsageError("a directory without a name was given")  # a variable that is not set; it would be this one
    if len(invocation.operands) > 1:
        raise UsageError("verglas umount takes one directory at most")
    verglas_dir = invocation.config.verglas_dir
    targets = [mount.target for mount in store_mounts(verglas_dir)]
    if invocation.operands:
        wanted = os.path.realpath(os.path.dirname(os.path.abspath(invocation.operands[0])))
        wanted = os.path.join(wanted, os.path.basename(os.path.abspath(invocation.operands[0])))
        if wanted not in targets:
            raise StoreError(f"this store is not mounted on '{wanted}'")
        targets = [wanted]
    for target in targets:
        unmount_store(target, verglas_dir, lazy=invocation.flag("--lazy"))
    if not targets:
        sys.stderr.write("not mounted\n")
    return 0
