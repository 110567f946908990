"""A private view of the file system for this process and its children: mount namespaces, entered without root.

Used where a store must be visible at its real path and the machine's own directories may not be touched. Everything
done here ends with the last process of the namespace; nothing has to be undone. The processes keep their user id. Not
the build sandbox, which is `builder.sandbox`. Sources: user_namespaces(7), mount_namespaces(7), pivot_root(2).
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time

from storefs.errors import EnvironmentUnfitError, SystemRefusedError
from storefs.stores import mount_syscalls as syscalls

# How long threads may take to be gone: those that Python has seen the end of need the processor once more, which on a
# busy machine takes a while; others may never end.
_LEFT_SECONDS = 20.0
_LEAVING_SECONDS = 2.0
_COPY_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV


class NoNamespaceError(EnvironmentUnfitError):
    """The kernel does not let this process have namespaces of its own."""


def enter_mount_namespace() -> None:
    """Give this process a mount namespace of its own, in a user namespace of its own if that is what it takes.

    The process must have one thread, and keeps its user and group ids; supplementary groups stop working for new ids.

    Raises:
        NoNamespaceError: user namespaces are switched off, used up, or the process has threads.
    """
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise SystemRefusedError("entering a mount namespace", error) from error
        _enter_user_namespace()
    syscalls.make_mounts_slaves()


def make_directory(path: str, scratch: str) -> None:
    """Make sure that a directory can be seen in this mount namespace, and lose nothing that is written beside it.

    Where this user may, it is made: he sees his real folders. Not in the root directory, which a command that only
    shows something leaves as it is, and not where he may not: there, the nearest directory that exists is replaced by a
    read-only copy whose entries are bind mounts of the real ones. What is beneath an entry is the real thing; nothing
    can be added to the copy itself, for it ends with the namespace. Call it in a namespace entered by
    `enter_mount_namespace`.

    Args:
        path: absolute.
        scratch: an empty host directory, on which a new root directory may be built.

    Raises:
        SystemRefusedError: it can't be done.
    """
    if os.path.isdir(path):
        return
    nearest = path
    while not os.path.isdir(nearest):
        nearest = os.path.dirname(nearest)
    try:
        if nearest == "/" or not _make(path):
            _make_in_copy(path, nearest, scratch)
    except OSError as error:
        raise SystemRefusedError(f"making '{path}' in a namespace", error) from error


def _make(path: str) -> bool:
    """Make a directory with those above it; False if this user may not. Raises OSError."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise
        return False
    return True


def _make_in_copy(path: str, folder: str, scratch: str) -> None:
    here = os.getcwd()
    built = scratch if folder == "/" else folder
    _rebuild(folder, built)
    if folder == "/":
        # The new root is put over the old one, which is then taken away beneath it: no directory is needed for it.
        syscalls.pivot_root_onto(scratch)
    os.chdir(here)  # the same directory, by the mounts that are visible now
    os.makedirs(path)
    syscalls.mount("", folder, "", syscalls.MS_REMOUNT | syscalls.MS_RDONLY | _COPY_FLAGS)


def _enter_user_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    try:
        _unshare_alone(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
    except OSError as error:
        reasons = {
            errno.EINVAL: "this process has threads already",
            errno.ENOSPC: "the limit user.max_user_namespaces is reached",
            errno.EUSERS: "user namespaces are nested too deeply",
        }
        reason = reasons.get(error.errno or 0, "the administrator has switched them off")
        raise NoNamespaceError(f"can't enter a user namespace: {reason}") from error
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _unshare_alone(flags: int) -> None:
    """Call unshare(2), which wants a single thread; those that were joined leave the kernel only a moment later."""
    began = time.monotonic()
    while True:
        try:
            syscalls.unshare(flags)
            return
        except OSError as error:
            patience = _LEFT_SECONDS if len(sys._current_frames()) == 1 else _LEAVING_SECONDS
            if error.errno != errno.EINVAL or time.monotonic() > began + patience:
                raise
        time.sleep(0.001)


def _rebuild(source: str, target: str) -> None:
    """Mount an empty directory on `target` and show in it what is in `source` now."""
    real = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listing = os.listdir(f"/proc/self/fd/{real}")
        syscalls.mount("tmpfs", target, "tmpfs", _COPY_FLAGS, "mode=755")
        for name in listing:
            _show(f"/proc/self/fd/{real}/{name}", f"{target}/{name}")
    finally:
        os.close(real)


def _show(source: str, target: str) -> None:
    try:
        mode = os.lstat(source).st_mode
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(source), target)
            return
        if stat.S_ISDIR(mode):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        syscalls.bind(source, target, recursive=True)
    except PermissionError:
        pass  # what this user can't reach anyway, it need not see
