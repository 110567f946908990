"""Attaching a FUSE file system to a directory, replacing the one before it, and detaching it again.

Two ways to get a descriptor that speaks FUSE: the mount system calls, for root and inside one's own user namespace; and
the setuid program fusermount3, for ordinary users. Who serves the descriptor is not decided here. Sources: fuse(4),
fusermount3(1), and libfuse's mount.c for how fusermount3 hands a descriptor over.
"""

from __future__ import annotations

import array
import errno
import os
import socket
from typing import TYPE_CHECKING

from storefs.errors import StoreError, SystemRefusedError
from storefs.stores import mount_syscalls as syscalls
from storefs.stores.fuse_device import NoFuseError, make_file_system
from storefs.stores.mount_table import FILE_SYSTEM_TYPE, SUBTYPE, is_alive, mount_at, mounts, source_of

if TYPE_CHECKING:
    from storefs.stores.mount_table import Mount

_HELPER = "fusermount3"


class OccupiedError(StoreError):
    """The mount point is taken."""


class AlreadyMountedError(OccupiedError):
    """A living mount of the same store is there."""


class Attachment:
    """A FUSE file system that is mounted at `target`; `fd` is our end of it.

    Attributes:
        device: the 'major:minor' of the file system in mountinfo; '' when it is not visible to this process.
        privileged: whether it was mounted by system calls rather than by fusermount3.
    """

    __slots__ = ("device", "fd", "privileged", "target")

    def __init__(self, fd: int, target: str, *, privileged: bool) -> None:
        self.fd = fd
        self.target = target
        self.privileged = privileged
        self.device = ""

    def find_device(self) -> None:
        """Learn the device number from the mount table, without a request to the file system, which waits for us."""
        found = mount_at(self.target)
        self.device = found.device if found is not None else ""

    def visible_mounts(self) -> list[Mount]:
        """Return every mount of the whole file system that this process sees."""
        return [mount for mount in mounts(device=self.device) if mount.root == "/"] if self.device else []

    def detach(self) -> None:
        """Remove it from the directory tree; whoever uses it goes on using it. Not for the thread that serves it."""
        for mount in self.visible_mounts():
            detach(mount.target, privileged=self.privileged)


def check_target(target: str, verglas_dir: str, *, replace: bool) -> Mount | None:
    """Make sure that `target` is a directory that may be mounted over, and return a dead or old mount of ours on it.

    Args:
        target: an absolute host path; made if it does not exist.
        verglas_dir: the state that will be served.
        replace: a living mount of ours may be replaced.

    Raises:
        AlreadyMountedError: a living mount of ours is there, and not `replace`.
        OccupiedError: something else is mounted there.
        SystemRefusedError: the directory can't be made.
    """
    present = mount_at(target)
    if present is not None:
        if present.kind != FILE_SYSTEM_TYPE or present.source != source_of(verglas_dir):
            raise OccupiedError(
                f"something else is mounted on '{target}' ({present.kind} {present.source}); "
                f"unmount it or choose another directory"
            )
        if not replace and is_alive(target):
            raise AlreadyMountedError(f"this store is mounted on '{target}' already; use --replace to start afresh")
        return present
    try:
        os.makedirs(target, exist_ok=True)
    except FileExistsError:
        raise OccupiedError(f"'{target}' is a file; choose a directory to mount on") from None
    except OSError as error:
        raise SystemRefusedError(f"making the mount point '{target}'", error) from error
    return None


def attach(target: str, verglas_dir: str, *, over: Mount | None) -> Attachment:
    """Mount a new FUSE file system on `target`, in the place of the mount `over`, if any.

    With Linux 6.5 nobody ever sees the directory without a mount. Before, and through fusermount3, which can't put one
    beneath another, it is bare for a moment.

    Raises:
        NoFuseError: neither system calls nor fusermount3 could do it.
    """
    try:
        return _attach_by_syscalls(target, verglas_dir, over)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOSYS}:
            raise SystemRefusedError(f"mounting on '{target}'", error) from error
    return _attach_by_helper(target, verglas_dir, over)


def detach(target: str, *, privileged: bool) -> None:
    """Detach the topmost mount at `target`, in use or not.

    Raises:
        SystemRefusedError: it may not be done.
    """
    if privileged:
        try:
            syscalls.unmount(target, lazy=True)
            return
        except OSError as error:
            if error.errno != errno.EPERM:
                raise SystemRefusedError(f"unmounting '{target}'", error) from error
    unmount_by_helper(target, lazy=True)


def unmount_by_helper(target: str, *, lazy: bool) -> None:
    """Unmount what fusermount3 has mounted for this user.

    Raises:
        NoFuseError: its last line of text: it is in use, and not `lazy`; or it may not be done.
    """
    _run_helper(["-u", *(["-z"] if lazy else []), "--", target])


def _attach_by_syscalls(target: str, verglas_dir: str, over: Mount | None) -> Attachment:
    fd, detached = make_file_system(verglas_dir)
    try:
        if over is None:
            detached.attach(target)
        else:
            try:
                detached.attach(target, beneath=True)
                syscalls.unmount(target, lazy=True)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                syscalls.unmount(target, lazy=True)
                detached.attach(target)
    except BaseException:
        os.close(fd)
        raise
    finally:
        detached.close()
    return Attachment(fd, target, privileged=True)


def _attach_by_helper(target: str, verglas_dir: str, over: Mount | None) -> Attachment:
    if over is not None:
        unmount_by_helper(target, lazy=True)
    if not os.access(target, os.W_OK):
        raise NoFuseError(
            f"an ordinary user can't mount on '{target}', which is not his own; "
            f"choose another directory, or use 'verglas run', which mounts for one program"
        )
    source = source_of(verglas_dir).replace("\\", "\\\\").replace(",", "\\,")
    options = f"fsname={source},subtype={SUBTYPE},ro,nosuid,nodev,default_permissions"
    # The administrator decides whether others may look: with `user_allow_other` in /etc/fuse.conf.
    try:
        fd = _receive_from_helper(f"{options},allow_other", target)
    except NoFuseError:
        fd = _receive_from_helper(options, target)
    return Attachment(fd, target, privileged=False)


def _receive_from_helper(options: str, target: str) -> int:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        _run_helper(["-o", options, "--", target], pass_fd=theirs.fileno())
        theirs.close()
        descriptors = array.array("i")
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_LEN(descriptors.itemsize))
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: descriptors.itemsize])
                os.set_inheritable(descriptors[0], False)
                return descriptors[0]
    raise NoFuseError(f"{_HELPER} mounted '{target}' but handed no descriptor over")


def _run_helper(arguments: list[str], pass_fd: int | None = None) -> None:
    import subprocess  # noqa: PLC0415  root and mounts in namespaces of their own need no helper

    # The descriptor's number travels in the environment: env(1) adds it, so that ours need not be read here.
    prefix = [] if pass_fd is None else ["env", f"_FUSE_COMMFD={pass_fd}"]
    try:
        done = subprocess.run(
            [*prefix, _HELPER, *arguments],
            pass_fds=() if pass_fd is None else (pass_fd,),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise NoFuseError(f"ordinary users need the program {_HELPER} (package fuse3) to mount") from error
    if done.returncode:
        raise NoFuseError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"{_HELPER} failed")
