"""The Linux system calls that Python does not offer, by ctypes: mounts, namespaces, capabilities, seccomp.

Thin and without policy: which calls are made in which order is `plan.py`'s business. Standard library only, because
the sandbox child imports it between clone(2) and execve(2). Every function raises OSError, naming what it worked on.
Sources: the man pages of the calls, <linux/mount.h>, <linux/seccomp.h>, <linux/landlock.h>, <linux/capability.h>.
"""

from __future__ import annotations

import _socket  # `socket` itself takes 7 ms to import
import ctypes
import errno
import fcntl
import os
import struct

from builder.sandbox import flags

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 28, 38, 47
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_SECBITS_LOCKED_DOWN = (
    0x2F  # no root magic, no fix-up of capabilities, no ambient raise; each of them locked but keep-caps
)
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_ATTR_RDONLY = 1
_KEYCTL_JOIN_SESSION_KEYRING = 1
_SIOCSIFFLAGS, _IFF_UP, _IFF_LOOPBACK, _IFF_RUNNING = 0x8914, 0x1, 0x8, 0x40

# Numbers of calls for which the C library has no wrapper; those above 424 are the same on every architecture.
_PIVOT_ROOT = {"x86_64": 155, "i686": 217, "aarch64": 41, "armv7l": 218, "riscv64": 41}
_KEYCTL = {"x86_64": 250, "i686": 288, "aarch64": 219, "armv7l": 311, "riscv64": 219}
_CLONE = {"x86_64": 56, "i686": 120, "aarch64": 220, "armv7l": 120, "riscv64": 220}
_OPENAT2, _MOUNT_SETATTR, _LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 437, 442, 444, 446
_RESOLVE_IN_ROOT = 0x10

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


def _check(result: int, what: str) -> int:
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _number(table: dict[str, int], name: str) -> int:
    number = table.get(os.uname().machine)
    if number is None:
        raise OSError(f"{name}: the number of this system call is not known on {os.uname().machine}")
    return number


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Attach a file system or another directory; `flags` are MS_ bits."""
    result = _libc.mount(
        os.fsencode(source) or None, os.fsencode(target), kind.encode() or None, flags, options.encode() or None
    )
    _check(result, f"mounting {kind or source} on '{target}'")


def unmount(target: str) -> None:
    """umount2(2), detaching: what is still used goes away with its last user."""
    _check(_libc.umount2(os.fsencode(target), flags.MNT_DETACH), f"unmounting '{target}'")


def set_read_only(target: str, *, recursive: bool, value: bool = True) -> None:
    """Make the mount at `target` read-only, or writable again; with every mount beneath it if `recursive`.

    mount_setattr(2), of Linux 5.12; unlike a remount it keeps all other flags, which a user namespace may not change.
    """
    attributes = struct.pack("=QQQQ", *((_MOUNT_ATTR_RDONLY, 0) if value else (0, _MOUNT_ATTR_RDONLY)), 0, 0)
    result = _libc.syscall(
        _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE if recursive else 0, attributes, 32
    )
    _check(result, f"making '{target}' read-only")


def open_beneath(root: int, path: str) -> int:
    """Open with O_PATH what `path` leads to if the directory `root` were the root; openat2(2), of Linux 5.6.

    Before that absolute links in `path` lead out of it.
    """
    how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    result = _libc.syscall(_OPENAT2, root, os.fsencode(path), how, len(how))
    if result == -1 and ctypes.get_errno() == errno.ENOSYS:
        return os.open(path.lstrip("/") or ".", os.O_PATH | os.O_CLOEXEC, dir_fd=root)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return int(result)


def pivot_root(new_root: str, put_old: str) -> None:
    """Exchange the root of the mount namespace for `new_root`, and leave the old one at `put_old`."""
    result = _libc.syscall(_number(_PIVOT_ROOT, "pivot_root"), os.fsencode(new_root), os.fsencode(put_old))
    _check(result, f"making '{new_root}' the root")


def clone_process(flags: int) -> int:
    """Fork into new namespaces: 0 in the child, the child's pid in the parent.

    The raw call runs no at-fork handlers, so it may only be used by a process with a single thread.
    """
    sigchld = 17
    arguments = [ctypes.c_ulong(flags | sigchld), None, None, None, None]
    return _check(_libc.syscall(_number(_CLONE, "clone"), *arguments), "creating namespaces")


def unshare(flags: int) -> None:
    """Move this process into new namespaces of the given CLONE_NEW* kinds."""
    _check(_libc.unshare(flags), "entering new namespaces")


def set_host_name(name: str) -> None:
    """sethostname(2), without a terminating NUL in the name."""
    raw = name.encode()
    _check(_libc.sethostname(raw, len(raw)), "setting the host name")


def set_domain_name(name: str) -> None:
    """setdomainname(2), without a terminating NUL in the name."""
    raw = name.encode()
    _check(_libc.setdomainname(raw, len(raw)), "setting the domain name")


def change_personality(bits: int) -> None:
    """Add bits to the personality(2); the kernel ignores those it does not know."""
    current = _libc.personality(0xFFFFFFFF)
    _check(_libc.personality(ctypes.c_ulong((current & 0xFFFFFFFF) | bits)), "changing the personality")


def die_with_parent() -> None:
    """Be killed when the parent dies. Changing uid or gid revokes it, so it comes after that."""
    _prctl(_PR_SET_PDEATHSIG, 9)


def set_dumpable() -> None:
    """Own one's /proc/self again after a change of uid."""
    _prctl(_PR_SET_DUMPABLE, 1)


def set_no_new_privileges() -> None:
    """Let no execve(2) gain privileges, for ever."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up every capability, and the way back to them through uid 0."""
    with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
        last = int(file.read())
    for capability in range(last + 1):
        _prctl(_PR_CAPBSET_DROP, capability)
    _prctl(_PR_CAP_AMBIENT, 4)  # PR_CAP_AMBIENT_CLEAR_ALL
    _prctl(_PR_SET_SECUREBITS, _SECBITS_LOCKED_DOWN)
    header = struct.pack("=Ii", 0x20080522, 0)
    _check(_libc.capset(header, bytes(24)), "dropping capabilities")


def join_new_session_keyring() -> None:
    """Leave the inherited session keyring for a new, empty one; keyctl(2). Nothing where the kernel has no keys."""
    keyring = _libc.syscall(_number(_KEYCTL, "keyctl"), _KEYCTL_JOIN_SESSION_KEYRING, None)
    # Where a container forbids the call, its builders can't read keys either.
    if keyring == -1 and ctypes.get_errno() not in {errno.ENOSYS, errno.EPERM}:
        _check(-1, "making a session keyring")


def raise_loopback() -> None:
    """Bring the interface `lo` of this network namespace up."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        request = struct.pack("16sh14x", b"lo", _IFF_UP | _IFF_LOOPBACK | _IFF_RUNNING)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, request)
    finally:
        sock.close()


def isolate_abstract_sockets() -> None:
    """Cut this process off from abstract unix sockets made outside of it, where the kernel can (Linux 6.12).

    A build that shares the host's network could otherwise hand an open file of its output to an accomplice.
    """
    scoped = struct.pack("=QQQ", 0, 0, 1)  # struct landlock_ruleset_attr: LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
    ruleset = _libc.syscall(_LANDLOCK_CREATE, scoped, len(scoped), 0)
    if ruleset < 0:
        return
    try:
        _check(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0), "isolating abstract sockets")
    finally:
        os.close(ruleset)


def install_filter(program: bytes) -> None:
    """Install a seccomp filter, an array of `struct sock_filter`."""
    buffer = ctypes.create_string_buffer(program, len(program))
    descriptor = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(descriptor))


def _prctl(option: int, *values: object) -> None:
    arguments = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in values]
    arguments += [ctypes.c_ulong(0)] * (4 - len(arguments))
    _check(_libc.prctl(option, *arguments), f"prctl {option}")
