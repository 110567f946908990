"""Cuts the test process off from the machine: environment, network, mounts. Called once, by conftest.py.

Root gets namespaces of its own (mounts vanish with the process, and only a loopback device exists); an ordinary user,
who would need a user namespace and with it another identity, gets an audit hook that refuses connections to elsewhere.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys

CLONE_NEWNS = 0x00020000  # unshare(2)
CLONE_NEWNET = 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18  # mount(2)
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1  # netdevice(7)

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


def own_namespaces() -> bool:
    """Move this process into mount and network namespaces of its own, if it may.

    Returns:
        whether the mount namespace is private: then every mount in it is ours.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNS) != 0:
        return False
    if libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "making / private")
    if libc.unshare(CLONE_NEWNET) == 0:
        _raise_loopback()
    return True


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
