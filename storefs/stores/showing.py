"""Seeing to it that what a command leaves behind can be looked at: store paths that it prints, links into the store.

For commands and what they call, of a store that is this process's own; never for daemons, which mount when they start.
Where nothing else shows the store it is mounted, in the background, and where that can't be had it is said in one line.
"""

from __future__ import annotations

import os

from storefs.errors import StoreError, SystemRefusedError
from storefs.logs import hint, info, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.config import Config
    from storefs.formats.store_path import StorePath

_CAP_SYS_ADMIN = 21  # linux/capability.h


def show_paths(config: Config, store_uri: str, paths: Iterable[StorePath], *, first: bool = False) -> None:
    """Make valid paths of a store visible at its store directory, if they are not; blocks while it is mounted.

    Asks for one path only: a mount shows all of them. Does nothing if it is not a local store, and nothing inside of a
    build, which is no place to mount in. Raises nothing: what was to be done is done.

    Args:
        config: of the store.
        store_uri: its name.
        paths: what somebody will look at.
        first: whether nobody was told yet that it takes a namespace to see them, if it does; on terminals it is told
            every time.
    """
    if store_uri != "local":
        return
    for path in paths:
        # A question to the mount, where there is one: a twentieth of a millisecond.
        if not os.path.lexists(f"{config.physical_store_dir}/{path.base_name}"):
            show_store(config, first=first)
        return


def show_store(config: Config, *, first: bool = False) -> None:
    """The same for whatever is in a local store."""
    if not config.boolean("auto-mount") or _is_inside_a_build(config):
        return
    from storefs.stores.mountpoint import mount_for_everybody  # noqa: PLC0415  only what can't be seen pays for it

    try:
        _require_means()
        try:
            where = mount_for_everybody(config)
        except OSError as error:
            raise SystemRefusedError("mounting it", error) from error
    except StoreError as error:
        # Of several lines, as fusermount3 writes them, the first one says it.
        reason = str(error).partition("\n")[0]
        warn(f"the files in '{config.physical_store_dir}' can't be seen: {reason} ('auto-mount = false' stops trying)")
        return
    if where != config.physical_store_dir:
        place = f"their place is '{where}'" if where else "'verglas run' and 'verglas shell' show them"
        tell = info if first else hint
        tell(f"the files in '{config.physical_store_dir}' can't be seen there by everybody; {place}")


def _require_means() -> None:
    """Raise StoreError where no mount can succeed, as in most containers: to try would take a tenth of a second."""
    if not os.path.exists("/dev/fuse"):
        raise StoreError("mounting it takes /dev/fuse, which is not there")
    if os.geteuid() == 0:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            effective = next((line.split()[1] for line in file if line.startswith("CapEff:")), "")
        if effective and not int(effective, 16) >> _CAP_SYS_ADMIN & 1:
            raise StoreError("mounting it takes CAP_SYS_ADMIN, which root does not have here")


def _is_inside_a_build(config: Config) -> bool:
    return bool(config.variable("NIX_BUILD_TOP")) and not config.variable("IN_NIX_SHELL")
