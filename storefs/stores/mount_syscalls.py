"""The system calls that attach, move and detach file systems, and leave namespaces. Linux only.

No policy: who mounts what and where is decided in `namespace.py`, `mountpoint.py` and `storefs.fuse.mount`. Everything
here raises OSError with the path it was about; what was mounted is the caller's to unmount. Sources: mount(2),
umount2(2), unshare(2), pivot_root(2), and the mount interface of Linux 5.2, fsopen(2), fsconfig(2), fsmount(2),
move_mount(2), whose numbers are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000

_SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 429, 430, 431, 432
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_CLOEXEC = 1  # of fsopen and fsmount alike
_MOUNT_ATTR = {MS_RDONLY: 1, MS_NOSUID: 2, MS_NODEV: 4}
_AT_FDCWD = -100
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOVE_MOUNT_BENEATH = 0x200  # Linux 6.5

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def _check(result: int, path: str = "") -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path or None)
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` (CLONE_NEW...) for new ones; CLONE_NEWUSER needs a process of one thread."""
    _check(_libc.unshare(ctypes.c_int(flags)))


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Attach a file system in the classic way; names are host paths, `options` the file system's own option text."""
    arguments = (os.fsencode(source), os.fsencode(target), os.fsencode(kind))
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), os.fsencode(options) or None), target)


def unmount(target: str, *, lazy: bool = False) -> None:
    """Detach what is mounted at `target`; `lazy` also when it is in use (it lives on for those who use it)."""
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), target)


def bind(source: str, target: str, *, recursive: bool = False) -> None:
    """Make `source` visible at `target` as well."""
    mount(source, target, "", MS_BIND | (MS_REC if recursive else 0))


def make_mounts_slaves() -> None:
    """Keep this mount namespace's changes inside it, while unmounts of the outer one still arrive.

    Slaves rather than private mounts, or a disk that was unplugged outside would stay busy for as long as we run.
    """
    mount("", "/", "", MS_REC | MS_SLAVE)


def pivot_root_onto(new_root: str) -> None:
    """Make the mount at `new_root` the root directory of this mount namespace, and of this process."""
    os.chdir(new_root)
    _check(_libc.pivot_root(b".", b"."), new_root)
    unmount(".", lazy=True)  # the old root, which pivot_root(".", ".") has left on top of the new one
    os.chdir("/")


class DetachedMount:
    """A mounted file system that is not yet part of any mount namespace. Closing it before `attach` unmounts it.

    Args:
        kind: the file system's type, as in 'fuse'.
        options: its parameters; None for a flag.
        flags: MS_RDONLY, MS_NOSUID, MS_NODEV.

    Raises:
        OSError: the kernel refused; EPERM without CAP_SYS_ADMIN, ENOSYS before Linux 5.2.
    """

    def __init__(self, kind: str, options: dict[str, str | None], flags: int) -> None:
        context = _check(_syscall(_SYS_FSOPEN, os.fsencode(kind), _CLOEXEC), kind)
        try:
            if flags & MS_RDONLY:
                options = {"ro": None, **options}
            for key, value in options.items():
                command = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
                text = None if value is None else os.fsencode(value)
                _check(_syscall(_SYS_FSCONFIG, context, command, key.encode(), text, 0), f"{kind} option {key}")
            _check(_syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), kind)
            attributes = sum(bit for flag, bit in _MOUNT_ATTR.items() if flags & flag)
            self.fd = _check(_syscall(_SYS_FSMOUNT, context, _CLOEXEC, attributes), kind)
        finally:
            os.close(context)

    def attach(self, target: str, *, beneath: bool = False) -> None:
        """Make it visible at the directory `target`, on top of what is there or, `beneath`, under the topmost mount.

        Mounted beneath, it appears in the very moment in which the mount above it is detached: nobody ever sees the
        directory without a mount. EINVAL where the kernel cannot do that (before 6.5, or no mount at `target`).
        """
        flags = _MOVE_MOUNT_F_EMPTY_PATH | (_MOVE_MOUNT_BENEATH if beneath else 0)
        _check(_syscall(_SYS_MOVE_MOUNT, self.fd, b"", _AT_FDCWD, os.fsencode(target), flags), target)

    def close(self) -> None:
        """Let go of the descriptor; an attached mount stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
