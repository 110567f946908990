"""A state directory where there was none: what is in it.  For `stores.local`; blocks on the disk, raises OSError."""

from __future__ import annotations

import os

from storefs.durable import make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config


def lay_out(config: Config) -> None:
    """Make the directories as Nix does, for scripts and people who put links into them."""
    state = config.state_dir
    for name in ("gcroots/auto", "profiles", "temproots"):
        make_directories(f"{state}/{name}")
    try:
        if not os.path.lexists(f"{state}/gcroots/profiles"):
            os.symlink(f"{state}/profiles", f"{state}/gcroots/profiles")
    except FileExistsError:
        pass  # several processes open a new store at once, and another one was faster
    # The bytes are nobody's business but through the mount or the daemon.
    make_directories(config.verglas_dir, mode=0o700)
    make_directories(f"{config.verglas_dir}/blobs")
