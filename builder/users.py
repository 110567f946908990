"""Which user of the host a build runs as. Held with a lock, so that no two builds share one.

Root builds as a member of the group `build-users-group`; where that group does not exist, as one of 256 uids far above
those of people (a range that Nix 2.12 and later uses for the same). An ordinary user, and root with an empty
`build-users-group` and no sandbox, builds as itself. Blocking for microseconds; used by `derivation_builder`.
"""

from __future__ import annotations

import grp
import os
import pwd

from builder.locks import FileLocks, try_lock
from storefs.errors import EnvironmentUnfitError
from storefs.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config

_FIRST_AUTOMATIC_UID = 872415232
_AUTOMATIC_UIDS = 256


class BuildUsersError(EnvironmentUnfitError):
    """`build-users-group` names a group that can't be used."""


@record(frozen=True, slots=True)
class BuildUser:
    """A user for one build. A context manager that gives it back.

    Attributes:
        uid, gid: on the host.
        groups: supplementary groups that the administrator gave it, as in `kvm`.
        foreign: whether it is another user than the one who runs this process.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    foreign: bool
    locks: FileLocks

    def __enter__(self) -> BuildUser:
        return self

    def __exit__(self, *exc: object) -> None:
        self.locks.release()


def acquire_user(config: Config, *, sandboxed: bool) -> BuildUser | None:
    """Return a user that no other build has, None when all are taken.

    Raises:
        BuildUsersError: the group has no members.
    """
    uid, gid = os.geteuid(), os.getegid()
    name = config.text("build-users-group")
    if uid != 0 or (not name and not sandboxed):
        return BuildUser(uid, gid, (), False, FileLocks({}))
    folder = f"{config.state_dir}/userpool"
    try:
        group = grp.getgrnam(name) if name else None
    except KeyError:
        group = None
    if group is None:
        for candidate in range(_FIRST_AUTOMATIC_UID, _FIRST_AUTOMATIC_UID + _AUTOMATIC_UIDS):
            locks = try_lock(folder, [str(candidate)])
            if locks is not None:
                return BuildUser(candidate, candidate, _kvm_group(), True, locks)
        return None
    if not group.gr_mem:
        raise BuildUsersError(f"the build users group '{name}' has no members")
    for member in group.gr_mem:
        try:
            entry = pwd.getpwnam(member)
        except KeyError:
            raise BuildUsersError(f"the user '{member}' in the group '{name}' does not exist") from None
        if entry.pw_uid == uid:
            raise BuildUsersError(f"the Nix user should not be a member of '{name}'")
        locks = try_lock(folder, [str(entry.pw_uid)])
        if locks is not None:
            groups = tuple(each for each in os.getgrouplist(member, group.gr_gid) if each != group.gr_gid)
            return BuildUser(entry.pw_uid, group.gr_gid, groups, True, locks)
    return None


def _kvm_group() -> tuple[int, ...]:
    """The group that may use /dev/kvm, for users that no administrator could add to it."""
    try:
        status = os.stat("/dev/kvm")
    except OSError:
        return ()
    return (status.st_gid,) if status.st_gid != 0 and status.st_mode & 0o060 == 0o060 else ()
