"""`verglas doctor`: whether this machine has what is needed, and what to do where it has not."""

from __future__ import annotations

import os

from profiles.profile_options import profile_of
from storefs.errors import StoreError
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config
    from storefs.options import Invocation

    Finding = tuple[bool, str]

COMMAND = Command(
    "verglas doctor",
    "Check that this machine has what is needed",
    description="Exits with 2 if something is missing.",
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    config = invocation.config
    findings = [_one_program(config), _profile_is_root(invocation), _store(config), _fuse(), _namespaces()]
    for is_good, text in findings:
        print(f"[{'PASS' if is_good else 'FAIL'}] {text}")
    return 0 if all(is_good for is_good, _ in findings) else 2


def _one_program(config: Config) -> Finding:
    """Two installations side by side would work on different stores by turns."""
    found = []
    for folder in config.variable("PATH").split(":"):
        path = f"{folder or '.'}/nix-env"
        if os.access(path, os.X_OK) and os.path.realpath(path) not in found:
            found.append(os.path.realpath(path))
    if len(found) > 1:
        return False, f"PATH contains several nix-env: {', '.join(found)}; leave one"
    return True, "PATH contains only one nix-env"


def _profile_is_root(invocation: Invocation) -> Finding:
    """A profile that the collector does not know would be collected under its user's feet."""
    profile, config = profile_of(invocation), invocation.config
    if not os.path.lexists(profile) or profile.startswith(f"{config.state_dir}/profiles/"):
        return True, "the profile is known to the garbage collector"
    folder = f"{config.state_dir}/gcroots/auto"
    roots = {os.readlink(f"{folder}/{name}") for name in os.listdir(folder)} if os.path.isdir(folder) else set()
    generation = os.path.join(os.path.dirname(profile), os.readlink(profile))
    if generation in roots:
        return True, "the profile is known to the garbage collector"
    return False, f"profile '{profile}' is unknown to the garbage collector; 'verglas profile apply' makes it known"


def _store(config: Config) -> Finding:
    from storefs.formats.store_path import StorePath
    from storefs.stores.any_store import open_any_store

    if config.store_uri in {"auto", "local"} and not os.path.exists(f"{config.verglas_dir}/db"):
        # Opening would make it, and this command makes nothing.
        folder = config.state_dir
        while not os.path.exists(folder):
            folder = os.path.dirname(folder)
        if os.access(folder, os.W_OK) or os.path.exists(f"{config.state_dir}/daemon-socket/socket"):
            return True, f"there is no store yet; the first command that needs one makes it in '{config.verglas_dir}'"
        return False, f"there is no store yet, and '{folder}' can't be written to; set NIX_STATE_DIR or use --store DIR"
    try:
        store = open_any_store(config)
        try:
            store.is_valid(StorePath("0" * 32 + "-x"))
        finally:
            store.close()
    except (StoreError, OSError) as error:
        return False, f"the store can't be used: {error}"
    return True, f"the store '{store.uri}' can be used"


def _fuse() -> Finding:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return False, f"/dev/fuse can't be opened ({error.strerror}); as root: modprobe fuse, chmod 666 /dev/fuse"
    return True, "/dev/fuse can be opened"


def _namespaces() -> Finding:
    if os.geteuid() == 0:
        return True, "root needs no user namespaces"
    for name, way_out in (
        ("kernel/unprivileged_userns_clone", "sysctl kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "sysctl user.max_user_namespaces=15000"),
    ):
        try:
            with open(f"/proc/sys/{name}", encoding="ascii") as file:
                if file.read().strip() == "0":
                    return False, f"user namespaces are switched off; as root: {way_out}"
        except OSError:
            continue
    return True, "user namespaces are switched on"
