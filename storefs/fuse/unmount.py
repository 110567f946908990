"""Unmounting from outside the process that serves, and waiting for that process to end.

Called by `storefs.commands.umount`. A stack of mounts on one directory (a dead one below a living one) goes as a whole.
"""

from __future__ import annotations

import errno
import os
import select
from typing import TYPE_CHECKING

from storefs.errors import StoreError, SystemRefusedError
from storefs.fuse.attach import detach, unmount_by_helper
from storefs.stores import mount_syscalls as syscalls
from storefs.stores.fuse_device import NoFuseError
from storefs.stores.mount_control import ask_all
from storefs.stores.mount_table import is_alive, store_mounts

if TYPE_CHECKING:
    from storefs.stores.mount_table import Mount

_PATIENCE = 10.0  # seconds for an unused mount process to end


class StillInUseError(StoreError):
    """A program uses a file of the mount."""

    def __init__(self, target: str) -> None:
        super().__init__(
            f"'{target}' is in use by a program ('fuser -vm {target}' shows it); --lazy unmounts it anyway"
        )


def unmount_store(target: str, verglas_dir: str, *, lazy: bool) -> None:
    """Unmount every mount of this store at `target`, and wait for their processes unless they are still needed.

    Raises:
        StillInUseError: it is in use, and not `lazy`.
        StoreError: it may not be done.
    """
    while True:
        mount = next((mount for mount in store_mounts(verglas_dir) if mount.target == target), None)
        if mount is None:
            return
        _unmount_one(mount, verglas_dir, lazy=lazy)


def _unmount_one(mount: Mount, verglas_dir: str, *, lazy: bool) -> None:
    target = mount.target
    # Nothing is asked of one that may be stopped; and nobody can use a dead one.
    if lazy or not is_alive(target):
        detach(target, privileged=True)
        return
    watchers = _watch_processes(verglas_dir, target)
    try:
        try:
            syscalls.unmount(target)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise StillInUseError(target) from error
            if error.errno != errno.EPERM:
                raise SystemRefusedError(f"unmounting '{target}'", error) from error
            _unmount_as_user(target)
        for watcher in watchers:
            select.select([watcher], [], [], _PATIENCE)
    finally:
        for watcher in watchers:
            os.close(watcher)


def _unmount_as_user(target: str) -> None:
    try:
        unmount_by_helper(target, lazy=False)
    except NoFuseError as error:
        if os.strerror(errno.EBUSY) in str(error):
            raise StillInUseError(target) from error
        raise


def _watch_processes(verglas_dir: str, target: str) -> list[int]:
    """Return descriptors, one for each process that serves `target`, which become readable when it has ended."""
    watchers = []
    for answer in ask_all(verglas_dir, {"op": "status"}):
        if answer.get("target") == target:
            try:
                watchers.append(os.pidfd_open(int(str(answer["pid"]))))
            except OSError:
                continue  # it has ended, or lives where we can't see it
    return watchers
