"""A FUSE file system fresh from the kernel: the device, and a mount that is not attached to any directory yet.

Who serves it is decided by callers: `storefs.fuse.mount` in its own process, `mountpoint.py` by starting one.
Source: fuse(4), and fs/fuse/inode.c for the options.
"""

from __future__ import annotations

import os

from storefs import logs
from storefs.errors import EnvironmentUnfitError
from storefs.stores import mount_syscalls as syscalls
from storefs.stores.mount_table import SUBTYPE, source_of

DEVICE = "/dev/fuse"
# A store's large files are read from beginning to end; the kernel's 128 KiB costs eight times the messages.
READ_AHEAD_KIB = 8192
_FLAGS = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV


class NoFuseError(EnvironmentUnfitError):
    """FUSE can not be used on this machine or by this user."""


def open_device() -> int:
    """Open /dev/fuse. Inside a user namespace this must happen after entering it: the kernel compares.

    Raises:
        NoFuseError: there is none, or it may not be used.
    """
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NoFuseError(f"'{DEVICE}' does not exist; load the kernel module with 'modprobe fuse'") from error
    except OSError as error:
        raise NoFuseError(
            f"can't open '{DEVICE}': {error.strerror}; user {os.getuid()} must be able to read and write it "
            f"('chmod 666 {DEVICE}' as root, which is how distributions have it)"
        ) from error


def make_file_system(verglas_dir: str) -> tuple[int, syscalls.DetachedMount]:
    """Make a FUSE file system for the store of a state directory. Needs CAP_SYS_ADMIN in this user namespace.

    Returns:
        the descriptor by which it is to be served, and the mount. Both are the caller's to close.

    Raises:
        NoFuseError: there is no device.
        OSError: EPERM without the capability, ENOSYS before Linux 5.2.
    """
    fd = open_device()
    options: dict[str, str | None] = {
        "source": source_of(verglas_dir),
        "subtype": SUBTYPE,
        "fd": str(fd),
        "rootmode": "40555",
        "user_id": str(os.getuid()),
        "group_id": str(os.getgid()),
        "default_permissions": None,
        "allow_other": None,
    }
    try:
        return fd, syscalls.DetachedMount("fuse", options, _FLAGS)
    except BaseException:
        os.close(fd)
        raise


def raise_read_ahead(device: str) -> None:
    """Let the kernel read large files of a mounted file system ahead in large pieces, where it lets us.

    Args:
        device: 'major:minor', as in the mount table.
    """
    try:
        with open(f"/sys/class/bdi/{device}/read_ahead_kb", "w", encoding="ascii") as file:
            file.write(str(READ_AHEAD_KIB))
    except OSError as error:
        logs.debug(f"the read-ahead of the mount stays as it is: {error.strerror}")
