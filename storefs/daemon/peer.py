"""Who is at the other end of a daemon's socket, and what they may do.

The kernel says who connected (SO_PEERCRED, unix(7)); `trusted-users` and `allowed-users` say what that means, with
`*` for everybody and `@group` for a group's members, as in nix.conf(5).
"""

from __future__ import annotations

import grp
import pwd
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storefs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.config import Config

_UCRED = struct.Struct("iII")  # pid, uid, gid


class NotAllowedError(StoreError):
    """A user may not use this daemon."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One client. `pid` is 0 where nobody knows, as behind standard streams."""

    pid: int
    user: str
    trusted: bool

    def __str__(self) -> str:
        return f"pid {self.pid or '<unknown>'}, user {self.user}{' (trusted)' if self.trusted else ''}"


def peer_of(connection: socket.socket, config: Config) -> Peer:
    """Return who connected.

    Raises:
        NotAllowedError: `allowed-users` does not name them, or they are one of the build users.
    """
    pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    trusted = matches(user, group, config.words("trusted-users"))
    build_users = config.text("build-users-group")
    if (not trusted and not matches(user, group, config.words("allowed-users"))) or (group and group == build_users):
        raise NotAllowedError(f"user '{user}' is not allowed to connect to the Nix daemon")
    return Peer(pid, user, trusted)


def matches(user: str, group: str, entries: Iterable[str]) -> bool:
    """Return whether one of `entries` names this user: by name, by `*`, or by `@group`."""
    for entry in entries:
        if entry in {"*", user}:
            return True
        if entry.startswith("@") and (group == entry[1:] or user in _members(entry[1:])):
            return True
    return False


def _members(group: str) -> list[str]:
    try:
        return grp.getgrnam(group).gr_mem
    except KeyError:
        return []
