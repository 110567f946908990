"""Control groups (cgroup v2) of builds: one for each, which tells what the build took and ends everything in it.

For the setting `use-cgroups`. A group lies in the one that this process is in, which must be ours to change: root's is,
an ordinary user's when systemd delegated it. Blocking for microseconds; used by `derivation_builder`. Sources:
cgroups(7), the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import contextmanager

from storefs.api import CpuTime
from storefs.errors import EnvironmentUnfitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from storefs.config import Config

_NOTE = "cgroup"  # a link to the group, in the scratch directory of the build
_END_SECONDS = 10.0  # that killed processes have to be gone; one in the middle of a disk access takes long


class ControlGroupError(EnvironmentUnfitError):
    """Builds can't have control groups here."""


@contextmanager
def control_group(config: Config, scratch: str, on_end: Callable[[CpuTime], None]) -> Iterator[str]:
    """Make the control group of a build, and remove it with all that is left in it.

    Args:
        config: says whether there is to be one.
        scratch: the scratch directory of the build; its group is noted there, in case that this process dies.
        on_end: is told what the build took.

    Yields:
        its directory, '' where builds have none.

    Raises:
        ControlGroupError: groups are asked for, and can't be had; or processes in it don't end.
    """
    if not config.boolean("use-cgroups"):
        yield ""
        return
    path = f"{own_group()}/nix-build-{'-'.join(scratch.rsplit('/', 2)[1:])}"
    os.symlink(path, f"{scratch}/{_NOTE}")
    try:
        os.mkdir(path)
    except OSError as error:
        raise ControlGroupError(
            f"cannot make the control group '{path}': {error.strerror}; without root 'use-cgroups' takes a group that "
            "was delegated to you, as 'systemd-run --user --scope -p Delegate=yes' gives it"
        ) from error
    try:
        yield path
    finally:
        _kill(path)
        used = _cpu_time(path)
        _remove(path)
        on_end(used)


def own_group() -> str:
    """Return the directory of the control group that this process is in.

    Raises:
        ControlGroupError: there is no cgroup v2 file system, or this process is in no group of it.
    """
    mounted = _mount_point()
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            hierarchy, _, path = line.rstrip("\n").split(":", 2)
            if hierarchy == "0":
                return mounted + path.rstrip("/")
    raise ControlGroupError("cannot determine the control group of this process from /proc/self/cgroup")


def remove_left_over(scratch: str) -> None:
    """Remove the control group that a build had whose process died. Never raises."""
    try:
        path = os.readlink(f"{scratch}/{_NOTE}")
        _kill(path)
        _remove(path)
    except (OSError, ControlGroupError):
        pass  # as a rule, because it had none


def _mount_point() -> str:
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, point, kind, _ = line.split(" ", 3)
            if kind == "cgroup2":
                return point.encode("latin-1", "surrogateescape").decode("unicode_escape")
    raise ControlGroupError("'use-cgroups' takes a cgroup v2 file system, which is not mounted here")


def _kill(path: str) -> None:
    """Kill every process in a group and in those below it, and wait until they are gone."""
    try:
        _write(f"{path}/cgroup.kill", "1")
    except FileNotFoundError:
        if not os.path.isdir(path):
            raise
        raise ControlGroupError("'use-cgroups' takes Linux 5.14 or later") from None
    # cgroup.events has news for poll(2) whenever the group becomes empty.
    deadline = time.monotonic() + _END_SECONDS
    descriptor = os.open(f"{path}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLPRI)
        while b"populated 1" in os.pread(descriptor, 4096, 0):
            left = deadline - time.monotonic()
            if left <= 0:
                raise ControlGroupError(f"processes in the control group '{path}' don't end")
            poll.poll(left * 1000)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    """Remove an empty group and what its processes made below it."""
    with os.scandir(path) as found:
        below = [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]
    for inner in below:
        _remove(inner)
    os.rmdir(path)


def _cpu_time(path: str) -> CpuTime:
    numbers = {}
    with open(f"{path}/cpu.stat", encoding="ascii") as file:
        for line in file:
            name, _, value = line.partition(" ")
            numbers[name] = int(value)
    return CpuTime(numbers.get("user_usec", 0), numbers.get("system_usec", 0))


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
