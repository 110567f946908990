"""Which of our file systems are mounted where, as this process sees it: /proc/self/mountinfo, parsed.

Answers questions only. Mounts carry the directory of the metadata they serve as their source, so a mount of another
state directory, or of somebody else, is never taken for ours. Format: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os

SUBTYPE = "verglas"
FILE_SYSTEM_TYPE = f"fuse.{SUBTYPE}"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Mount:
    """One line of mountinfo. `root` is the directory of the file system that is visible at `target`."""

    __slots__ = ("device", "kind", "options", "root", "source", "super_options", "target")

    def __init__(self, line: str) -> None:
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        self.device, self.root, self.target, self.options = fields[2], _plain(fields[3]), _plain(fields[4]), fields[5]
        kind, source, self.super_options = [*right.rstrip("\n").split(" "), "", ""][:3]
        self.kind, self.source = kind, _plain(source)


def mounts(device: str = "") -> Iterator[Mount]:
    """Yield every mount of this mount namespace, lower ones before those mounted over them.

    Args:
        device: only mounts of this 'major:minor'.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if f" {device}" in line:
                mount = Mount(line)
                if not device or mount.device == device:
                    yield mount


def source_of(verglas_dir: str) -> str:
    """Return the mount source that names the state in `verglas_dir`."""
    return os.path.realpath(verglas_dir)


def store_mounts(verglas_dir: str) -> list[Mount]:
    """Return the visible whole-store mounts of the state in `verglas_dir`, without those hidden by another mount.

    They may be dead: ask `is_alive`.
    """
    source = source_of(verglas_dir)
    topmost = {mount.target: mount for mount in mounts()}
    return [
        mount
        for mount in topmost.values()
        if mount.kind == FILE_SYSTEM_TYPE and mount.source == source and mount.root == "/"
    ]


def mount_at(target: str) -> Mount | None:
    """Return the topmost mount whose root is the directory `target`, None if it is no mount point.

    Asks the mounted file system nothing: it may be served by the calling thread.
    """
    real = os.path.realpath(os.path.dirname(target)) + "/" + os.path.basename(target.rstrip("/"))
    found = None
    for mount in mounts():
        if mount.target in {real, target}:
            found = mount
    return found


def is_alive(target: str) -> bool:
    """Ask the process behind the mount at `target` for a sign of life.

    False once it has died (ENOTCONN), and when the state that it serves was deleted or replaced (ESTALE).

    Blocks for as long as a living process is stopped.
    """
    try:
        os.statvfs(target)
    except OSError:
        return False
    return True


def _plain(text: str) -> str:
    """Undo the octal escapes by which the kernel keeps blanks out of a field."""
    if "\\" not in text:
        return text
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escape, character)
    return text
