"""Cuts the test process off from the machine: environment, network, mounts. Called once, by conftest.py.

Root gets namespaces of its own (mounts vanish with the process, and only a loopback device exists); an ordinary user,
who would need a user namespace and with it another identity, gets an audit hook that refuses connections to elsewhere.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import stat
import struct
import sys
import tempfile
from pathlib import Path

CLONE_NEWNS = 0x00020000  # unshare(2)
CLONE_NEWNET = 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18  # mount(2)
MNT_DETACH = 2  # umount2(2)
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1  # netdevice(7)

_libc = ctypes.CDLL(None, use_errno=True)

# Everything else is taken out of the environment: locale, proxies, NIX_*, XDG_*, editors, the user's Python settings.
KEPT_VARIABLES = ("PATH", "TMPDIR", "CI", "UPDATE_GOLDEN", "PYTEST_", "COV_", "NIX_MIRROR")


def clean_environment() -> None:
    """Reduce the environment to what is harmless, and point everything that has a default to where nothing can be.

    Code that falls back to a default directory then fails (ENOTDIR, for root too) instead of touching the machine.
    """
    nowhere = "/dev/null"
    for name in list(os.environ):
        if not name.startswith(KEPT_VARIABLES):
            del os.environ[name]
    os.environ.update(
        HOME=f"{nowhere}/home",
        LC_ALL="C.UTF-8",
        TZ="UTC",
        TERM="dumb",
        NIX_STORE_DIR=f"{nowhere}/store",
        NIX_STATE_DIR=f"{nowhere}/state",
        NIX_LOG_DIR=f"{nowhere}/log",
        NIX_CONF_DIR=f"{nowhere}/etc",
        XDG_CONFIG_DIRS=f"{nowhere}/xdg",
    )


def usual_signals() -> None:
    """Have the signals that end programs do so: who runs tests in the background or by nohup has them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def own_namespaces() -> bool:
    """Move this process into mount and network namespaces of its own, if it may.

    Returns:
        whether the mount namespace is private: then every mount in it is ours.
    """
    if os.geteuid() != 0 or _libc.unshare(CLONE_NEWNS) != 0:
        return False
    _mount("", "/", MS_REC | MS_PRIVATE)
    if _libc.unshare(CLONE_NEWNET) == 0:
        _raise_loopback()
    return True


def open_way_to(checkout: Path) -> None:
    """Let ordinary users reach the checkout, where a parent (say /root) is closed to them: tests run programs as one.

    In this mount namespace, which must be our own, the closed directory is covered by one that has nothing but the way
    to the checkout. Nothing is done where Python itself lies beneath it.
    """
    closed = closed_parent(checkout)
    if closed is None or Path(sys.base_prefix).is_relative_to(closed):
        return
    stage = tempfile.mkdtemp(prefix="vg-way-")
    _mount(str(checkout), stage, MS_BIND | MS_REC)
    _mount("none", str(closed), 0, "tmpfs", "mode=755")
    checkout.mkdir(parents=True)
    _mount(stage, str(checkout), MS_BIND | MS_REC)
    _libc.umount2(os.fsencode(stage), MNT_DETACH)
    os.rmdir(stage)
    os.chdir(checkout)


def closed_parent(path: Path) -> Path | None:
    """Return the topmost directory above `path` that others may not enter."""
    for parent in reversed(path.parents):
        if not parent.stat().st_mode & stat.S_IXOTH:
            return parent
    return None


def _mount(source: str, target: str, flags: int, kind: str = "", options: str = "") -> None:
    words = (os.fsencode(source), os.fsencode(target), kind.encode(), flags, options.encode())
    if _libc.mount(*words) != 0:
        raise OSError(ctypes.get_errno(), "mounting", target)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def refuse_network() -> None:
    """Make connecting to anything but this machine raise, for good: an audit hook can't be removed."""
    sys.addaudithook(_on_event)


def _on_event(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and str(address[0]) not in {"127.0.0.1", "::1", "localhost"}:
            raise PermissionError(f"tests do not use the network: {address!r}")
