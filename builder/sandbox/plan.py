"""What a build's surroundings look like: an ordered list of steps that say what they do. No system call is made here.

A plan is a value. `derivation_builder` composes it, `--debug` prints it (`str(plan)`), `spawn` encodes it, and the
child in `enter.py` executes the steps in order; each class of step here has its function of the same name there.
"""

from __future__ import annotations

import marshal
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from builder.sandbox import syscalls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the child does. Paths inside the sandbox are absolute as the builder sees them."""

    code: ClassVar[str]

    def encoded(self) -> tuple[object, ...]:
        """The step as the child reads it: its code, then its fields in order."""
        names: tuple[str, ...] = self.__slots__
        return (self.code, *(getattr(self, name) for name in names))


@dataclass(frozen=True, slots=True)
class PrivateMounts(Step):
    """Keep every later mount from reaching the host, whose mounts may be shared (row N7)."""

    code: ClassVar[str] = "private_mounts"

    def __str__(self) -> str:
        return "mount --make-rprivate /"


@dataclass(frozen=True, slots=True)
class RootDirectory(Step):
    """Make an empty root in memory, at a host directory; later steps work beneath it until `PivotRoot`."""

    host: str
    code: ClassVar[str] = "root_directory"

    def __str__(self) -> str:
        return f"mount -t tmpfs tmpfs {self.host}"


@dataclass(frozen=True, slots=True)
class Directory(Step):
    """Make a directory and what leads to it."""

    path: str
    mode: int = 0o755
    code: ClassVar[str] = "directory"

    def __str__(self) -> str:
        return f"mkdir -p -m {self.mode:04o} {self.path}"


@dataclass(frozen=True, slots=True)
class File(Step):
    """Write a file."""

    path: str
    content: str
    code: ClassVar[str] = "file"

    def __str__(self) -> str:
        return f"write {self.path} ({len(self.content)} characters)"


@dataclass(frozen=True, slots=True)
class Symlink(Step):
    """Make a symbolic link."""

    target: str
    path: str
    code: ClassVar[str] = "symlink"

    def __str__(self) -> str:
        return f"ln -s {self.target} {self.path}"


@dataclass(frozen=True, slots=True)
class Bind(Step):
    """Show a file or directory of the host."""

    source: str
    path: str
    optional: bool = False
    read_only: bool = False
    code: ClassVar[str] = "bind"

    def __str__(self) -> str:
        marks = (" (if it exists)" if self.optional else "") + (" (read-only)" if self.read_only else "")
        return f"mount --rbind {self.source} {self.path}{marks}"


@dataclass(frozen=True, slots=True)
class Inputs(Step):
    """Show store objects, read-only, in a store directory that stays writable for the outputs.

    A store object that is a symbolic link is made anew, since a mount would follow it.
    """

    store: str  # the mounted store on the host
    path: str  # the store directory in the sandbox
    names: tuple[str, ...]
    code: ClassVar[str] = "inputs"

    def __str__(self) -> str:
        return f"mount --bind, read-only, {len(self.names)} inputs from {self.store}: {' '.join(self.names)}"


@dataclass(frozen=True, slots=True)
class OverlayStore(Step):
    """Put a writable layer over the read-only store, for builds without a sandbox."""

    lower: str
    upper: str
    work: str
    path: str
    in_user_namespace: bool
    code: ClassVar[str] = "overlay_store"

    def __str__(self) -> str:
        return f"mount -t overlay -o lowerdir={self.lower},upperdir={self.upper} overlay {self.path}"


@dataclass(frozen=True, slots=True)
class Proc(Step):
    """Mount a /proc of the build's own process namespace.

    `guarded` makes what reaches beyond the namespaces (/proc/sys, /proc/sysrq-trigger ...) read-only.
    """

    path: str
    guarded: bool
    code: ClassVar[str] = "proc"

    def __str__(self) -> str:
        return f"mount -t proc proc {self.path}{' (sys read-only)' if self.guarded else ''}"


@dataclass(frozen=True, slots=True)
class Tmpfs(Step):
    """Mount an empty file system in memory."""

    path: str
    options: str
    code: ClassVar[str] = "tmpfs"

    def __str__(self) -> str:
        return f"mount -t tmpfs -o {self.options} tmpfs {self.path}"


@dataclass(frozen=True, slots=True)
class Terminals(Step):
    """Mount a /dev/pts of the build's own, or show the host's where the kernel refuses one."""

    code: ClassVar[str] = "terminals"

    def __str__(self) -> str:
        return "mount -t devpts -o newinstance devpts /dev/pts"


@dataclass(frozen=True, slots=True)
class PivotRoot(Step):
    """Make the prepared root the root, and let go of the host's."""

    code: ClassVar[str] = "pivot_root"

    def __str__(self) -> str:
        return "pivot_root"


@dataclass(frozen=True, slots=True)
class HostName(Step):
    """Set the host and domain name."""

    host: str
    domain: str
    code: ClassVar[str] = "host_name"

    def __str__(self) -> str:
        return f"hostname {self.host}; domainname '{self.domain}'"


@dataclass(frozen=True, slots=True)
class Loopback(Step):
    """Bring `lo` up."""

    code: ClassVar[str] = "loopback"

    def __str__(self) -> str:
        return "ip link set lo up"


@dataclass(frozen=True, slots=True)
class IsolateAbstractSockets(Step):
    """Hide the abstract unix sockets of the host from a build that shares its network."""

    code: ClassVar[str] = "isolate_abstract_sockets"

    def __str__(self) -> str:
        return "isolate abstract unix sockets"


@dataclass(frozen=True, slots=True)
class Personality(Step):
    """Add bits to the personality: 32-bit, Linux 2.6, no address space randomisation."""

    bits: int
    code: ClassVar[str] = "personality"

    def __str__(self) -> str:
        return f"personality {self.bits:#x}"


@dataclass(frozen=True, slots=True)
class MapUser(Step):
    """As the first process of a new user namespace, say who its one user is on the host."""

    inner_uid: int
    outer_uid: int
    inner_gid: int
    outer_gid: int
    code: ClassVar[str] = "map_user"

    def __str__(self) -> str:
        return f"map uid {self.inner_uid} to {self.outer_uid}, gid {self.inner_gid} to {self.outer_gid}"


@dataclass(frozen=True, slots=True)
class BecomeUser(Step):
    """Change to a user of the host, keeping only the given supplementary groups."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    code: ClassVar[str] = "become_user"

    def __str__(self) -> str:
        return f"setuid {self.uid}, setgid {self.gid}, groups {self.groups}"


@dataclass(frozen=True, slots=True)
class UserNamespace(Step):
    """Enter a user namespace after everything else is set up, so that it has no power over the other namespaces."""

    inner_uid: int
    outer_uid: int
    inner_gid: int
    outer_gid: int
    code: ClassVar[str] = "user_namespace"

    def __str__(self) -> str:
        return f"unshare --user; map uid {self.inner_uid} to {self.outer_uid}, gid {self.inner_gid} to {self.outer_gid}"


@dataclass(frozen=True, slots=True)
class Filter(Step):
    """Install a system call filter."""

    program: bytes
    code: ClassVar[str] = "filter"

    def __str__(self) -> str:
        return f"seccomp filter of {len(self.program) // 8} instructions"


@dataclass(frozen=True, slots=True)
class NoNewPrivileges(Step):
    """Let no setuid program gain anything."""

    code: ClassVar[str] = "no_new_privileges"

    def __str__(self) -> str:
        return "no new privileges"


@dataclass(frozen=True, slots=True)
class DropCapabilities(Step):
    """Give up every capability."""

    code: ClassVar[str] = "drop_capabilities"

    def __str__(self) -> str:
        return "drop all capabilities"


_FLAG_NAMES = {
    syscalls.CLONE_NEWUSER: "user",
    syscalls.CLONE_NEWNS: "mount",
    syscalls.CLONE_NEWPID: "pid",
    syscalls.CLONE_NEWNET: "net",
    syscalls.CLONE_NEWIPC: "ipc",
    syscalls.CLONE_NEWUTS: "uts",
    syscalls.CLONE_NEWCGROUP: "cgroup",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about one child process.

    Attributes:
        namespaces: CLONE_NEW* flags; 0 for none.
        steps: executed in order.
        program: what is executed at last, or None for a Python function of this package (a builtin builder).
        arguments: with argv[0].
        environment: complete.
        directory: the working directory, as the program sees it.
        builtin: (module, function, argument) run in place of a program.
    """

    namespaces: int
    steps: Sequence[Step]
    program: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    builtin: tuple[str, str, str] | None = None

    def encoded(self) -> bytes:
        """The plan as the child reads it. Both sides are the same interpreter, so that `marshal` will do."""
        steps: Sequence[object] = [step.encoded() for step in self.steps]
        parts: list[object] = [steps, self.program, list(self.arguments), dict(self.environment), self.directory]
        return marshal.dumps([*parts, self.builtin])

    def __str__(self) -> str:
        names = [name for flag, name in _FLAG_NAMES.items() if self.namespaces & flag]
        lines = [f"new namespaces: {' '.join(names) or 'none'}"]
        lines += [str(step) for step in self.steps]
        lines += [f"cd {self.directory}", f"exec {self.program} {' '.join(self.arguments[1:])}"]
        return "\n".join(lines)
