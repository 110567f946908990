"""Where this process can see the store through the kernel, and how it comes to see it.

`ensure_mounted` is for programs that need store files by path, such as the builder; `enter_store` is for commands that
run somebody's program with the store at its real place. Both start a `verglas mount` where none is; neither serves
one. The rules:

- A living mount of this state directory is used, the one at the store directory itself first.
- Where there is none, but a dead one that this user may replace, it is mounted again where it was.
- Root mounts on the store directory, unless something that is not ours lies there (another Nix's store): then on
  `<verglas_dir>/mnt`.
- An ordinary user to whom the store directory belongs, or who can make it, mounts there too, through fusermount3:
  results can then be used in any shell.
- Everybody else enters a user and mount namespace, in which the store is mounted at its real path, and the mount ends
  with the last process of the namespace.
"""

from __future__ import annotations

import errno
import os
import sys

from storefs.durable import make_directories
from storefs.errors import EnvironmentUnfitError, SystemRefusedError
from storefs.stores.mount_table import is_alive, mount_at, source_of, store_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.config import Config
    from storefs.stores.mount_table import Mount

# Starts the program by module rather than by the name of a script, which need not be on anybody's PATH.
_LAUNCH = "import sys; sys.argv[0] = 'verglas'; from verglas import start; start()"


class MountFailedError(EnvironmentUnfitError):
    """The store could not be mounted. The text is what the mounting process said."""


def ensure_mounted(config: Config) -> str:
    """Return the host directory at which the store is visible to this process, mounting it if it is not.

    May start a process, and may move an ordinary user's process into a user and mount namespace of its own: call it
    while the process has a single thread, before opening what should stay outside. Where namespaces are not to be had,
    fusermount3 mounts on `<verglas_dir>/mnt`. Blocks until the store can be read.

    Raises:
        StoreError: it can't be mounted; the text says what is missing.
    """
    found = mount_for_everybody(config)
    if found is not None:
        return found
    from storefs.stores.namespace import NoNamespaceError  # noqa: PLC0415  ctypes, only when something is to be mounted

    try:
        enter_store(config)
    except NoNamespaceError:
        return _mount_for_all(config)
    return config.store_dir


def mount_for_everybody(config: Config) -> str | None:
    """Return the host directory at which the user's other programs see the store, too, mounting it if it is not.

    None where that takes a namespace: for an ordinary user whose store directory is not his own. Blocks until the store
    can be read.

    Raises:
        StoreError: root can't mount it; the text says what is missing.
    """
    found = find_mount(config)
    if found is not None:
        return found
    make_directories(config.verglas_dir, mode=0o700)
    dead = find_repairable(config)
    if dead is not None:
        try:
            _start(config, ["--if-needed", dead])
        except MountFailedError:
            pass  # what it is on has changed, too: as if it was not there
        else:
            return find_mount(config)
    if os.geteuid() == 0:
        return _mount_for_all(config)
    target = config.physical_store_dir
    if _is_own(target, config.verglas_dir) and may_be_covered(target, config.verglas_dir):
        try:
            _start(config, ["--if-needed", target])
        except MountFailedError:
            return None  # no fusermount3; in a namespace nobody needs it
        return target
    return None


def find_mount(config: Config) -> str | None:
    """Return where a living mount of this store is visible, None if there is none. Starts nothing."""
    living = [mount.target for mount in store_mounts(config.verglas_dir) if is_alive(mount.target)]
    return _best_of(config, living)


def find_repairable(config: Config) -> str | None:
    """Return which dead mount of this store the next command that needs the store mounts again, None for none of them.

    None as well while another mount of it is alive, which is used then. Starts nothing.
    """
    present = store_mounts(config.verglas_dir)
    if any(is_alive(mount.target) for mount in present):
        return None
    user = os.geteuid()
    own = [mount.target for mount in present if user == 0 or _was_mounted_by(mount, user)]
    return _best_of(config, own)


def _best_of(config: Config, targets: list[str]) -> str | None:
    for wanted in (config.physical_store_dir, config.store_dir):
        if os.path.realpath(wanted) in targets:
            return wanted
    return targets[0] if targets else None


def _was_mounted_by(mount: Mount, user: int) -> bool:
    return f"user_id={user}" in mount.super_options.split(",")


def enter_store(config: Config) -> None:
    """Make the store visible at its logical path, `config.store_dir`, to this process and its children.

    Does nothing where it is visible there already. Otherwise enters a mount namespace (for which the process must have
    one thread) and mounts the store there; what is at that path outside is not touched (`namespace.make_directory` says
    what becomes of a missing one), and the mount, with the process that serves it, ends with the last process of the
    namespace. A dead mount of this store that is found there
    is mounted again for everybody, if this user may.

    Raises:
        NoNamespaceError: this process can't have a namespace.
        StoreError: it can't be mounted.
    """
    present = mount_at(os.path.realpath(config.store_dir))
    if present is not None and present.source == source_of(config.verglas_dir):
        if is_alive(config.store_dir):
            return
        if config.physical_store_dir == config.store_dir and mount_for_everybody(config) == config.store_dir:
            return
    from storefs.stores import fuse_device, namespace  # noqa: PLC0415  ctypes, only when something is to be mounted

    scratch = f"{config.verglas_dir}/root"
    os.makedirs(scratch, exist_ok=True)
    namespace.enter_mount_namespace()
    if mount_at(os.path.realpath(config.store_dir)) is None:  # a dead one is mounted over, and can't be looked at
        namespace.make_directory(config.store_dir, scratch)
    target = os.path.realpath(config.store_dir)
    try:
        fd, detached = fuse_device.make_file_system(config.verglas_dir)
        try:
            detached.attach(target)
        finally:
            detached.close()
    except OSError as error:
        raise SystemRefusedError(f"mounting on '{config.store_dir}'", error) from error
    try:
        mount = mount_at(target)
        if mount is not None and os.geteuid() == 0:
            fuse_device.raise_read_ahead(mount.device)
        # The server must not keep the namespace alive whose end is its own.
        arguments = ["--serve-descriptor", str(fd), target]
        _start(config, arguments, descriptor=fd, before=lambda: _leave_namespace(target))
    finally:
        os.close(fd)


def _mount_for_all(config: Config) -> str:
    target = config.physical_store_dir
    if os.geteuid() != 0 or not may_be_covered(target, config.verglas_dir):
        target = f"{config.verglas_dir}/mnt"
    _start(config, ["--if-needed", target])
    return target


def _is_own(directory: str, verglas_dir: str) -> bool:
    """Whether a directory belongs to this user, which is what fusermount3 wants of a mount point.

    It is made where it is missing and he may, so that the first command does what later ones do. A dead mount shows
    nothing of what it is on; if this user has mounted it, that was his own.
    """
    mount = mount_at(directory)
    if mount is not None and mount.source == source_of(verglas_dir):
        return _was_mounted_by(mount, os.geteuid())
    try:
        os.makedirs(directory, exist_ok=True)
        return os.stat(directory).st_uid == os.geteuid()
    except OSError:
        return False


def may_be_covered(target: str, verglas_dir: str) -> bool:
    """Whether mounting on a directory hides nothing of anybody: it is missing, empty, or a mount of ours."""
    mount = mount_at(target)
    if mount is not None and mount.source == source_of(verglas_dir):
        return True
    try:
        return not os.listdir(target)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in {errno.ENOTCONN, errno.EACCES, errno.ENOTDIR}:
            return False
        raise


def _start(
    config: Config, arguments: list[str], descriptor: int | None = None, before: Callable[[], None] | None = None
) -> None:
    """Run `verglas mount --background` and wait until it serves."""
    import subprocess  # noqa: PLC0415  9 ms that a store which is mounted need not pay
    from urllib.parse import quote  # noqa: PLC0415

    environment = {
        **config.environment(),
        "NIX_STORE_DIR": config.store_dir,
        "NIX_STATE_DIR": config.state_dir,
        "NIX_CONF_DIR": config.conf_dir,
        "NIX_LOG_DIR": config.log_dir,
    }
    # Of a store that was named, all that can be said of one is said.
    real = f"local?root={quote(config.root)}&real={quote(config.physical_store_dir)}&state={quote(config.state_dir)}"
    store = ["--store", real] if config.root or config.physical_store_dir != config.store_dir else []
    done = subprocess.run(
        [sys.executable, "-P", "-c", _LAUNCH, "mount", "--background", *store, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        pass_fds=() if descriptor is None else (descriptor,),
        preexec_fn=before,
        check=False,
    )
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip().removeprefix("error: ")
        raise MountFailedError(text or f"'verglas mount' failed with exit status {done.returncode}")


def _leave_namespace(target: str) -> None:
    from storefs.stores import mount_syscalls as syscalls  # noqa: PLC0415  loaded by now

    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.unmount(target, lazy=True)
