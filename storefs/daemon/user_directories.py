"""The directories for profiles and roots of a daemon's client, which ordinary users can't make for themselves.

`<state_dir>/profiles/per-user/USER` and `<state_dir>/gcroots/per-user/USER`, as with Nix. They belong to the user, so
that `nix-env` and `nix-build` make links there without the daemon.
"""

from __future__ import annotations

import errno
import os
import pwd

from storefs.durable import temporary_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config


def make_user_directories(config: Config, user: str) -> None:
    """Make the directories of `user` if there are none. Users without an account get none.

    Raises:
        OSError: they can't be made.
    """
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return
    for kind in ("profiles", "gcroots"):
        folder = f"{config.state_dir}/{kind}/per-user/{user}"
        if os.path.isdir(folder):
            continue
        os.makedirs(os.path.dirname(folder), mode=0o755, exist_ok=True)
        # It gets its name when it is the user's: whoever finds one does not look whose it is.
        made = temporary_name(folder)
        os.mkdir(made, 0o755)
        try:
            if os.geteuid() == 0:
                os.chown(made, account.pw_uid, account.pw_gid)
            os.rename(made, folder)
        except OSError as error:
            os.rmdir(made)
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # of another connection of the same user, in use
                raise
