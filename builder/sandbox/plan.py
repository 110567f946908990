"""What a build's surroundings look like: an ordered list of steps that say what they do. No system call is made here.

A plan is a value. `compose` puts it together, `--debug` prints it (`str(plan)`), `spawn` sends it, and the child in
`execute.py` executes the steps in order: each function here makes the step for the method of the same name there. Paths
inside the sandbox are absolute, as the builder sees them.
"""

from __future__ import annotations

import marshal

from builder.sandbox import flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Step:
    """One thing that the child does. Immutable; printed as a shell would write it.

    Attributes:
        code: the method of `execute.Sandbox` that does it.
        arguments: for that method; numbers, strings, bytes and tuples of them.
    """

    __slots__ = ("_text", "arguments", "code")

    def __init__(self, code: str, arguments: tuple[object, ...], text: str) -> None:
        self.code = code
        self.arguments = arguments
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<Step {self._text}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and (self.code, self.arguments) == (other.code, other.arguments)

    def __hash__(self) -> int:
        return hash((self.code, self.arguments))


class Bind:
    """A file or directory of the host that a sandbox shows, as in `sandbox-paths`. Immutable.

    Attributes:
        source: on the host.
        path: in the sandbox.
        optional: whether a missing source is nothing.
        read_only: whether even a writable source can't be written to.
    """

    __slots__ = ("optional", "path", "read_only", "source")

    def __init__(self, source: str, path: str, optional: bool = False, read_only: bool = False) -> None:
        self.source = source
        self.path = path
        self.optional = optional
        self.read_only = read_only


def control_group(path: str) -> Step:
    """Move into a control group, and begin a namespace that has it as its root."""
    return Step("control_group", (path,), f"echo 0 > {path}/cgroup.procs; unshare --cgroup")


def private_mounts() -> Step:
    """Keep every later mount from reaching the host, whose mounts may be shared (row N7)."""
    return Step("private_mounts", (), "mount --make-rprivate /")


def root_directory(host: str) -> Step:
    """Make an empty root in memory at the host directory `host`; until `pivot_root` steps work beneath it."""
    return Step("root_directory", (host,), f"mount -t tmpfs tmpfs {host}")


def directory(path: str, mode: int = 0o755) -> Step:
    """Make a directory and what leads to it."""
    return Step("directory", (path, mode), f"mkdir -p -m {mode:04o} {path}")


def file(path: str, content: str) -> Step:
    """Write a file."""
    return Step("file", (path, content), f"write {path} ({len(content)} characters)")


def symlink(target: str, path: str) -> Step:
    """Make a symbolic link."""
    return Step("symlink", (target, path), f"ln -s {target} {path}")


def bind(source: str, path: str, optional: bool = False, read_only: bool = False, own: bool = False) -> Step:
    """Show a file or directory of the host; with `own` one of this build's alone, in which mount points may be made."""
    marks = (" (if it exists)" if optional else "") + (" (read-only)" if read_only else "")
    return Step("bind", (source, path, optional, read_only, own), f"mount --rbind {source} {path}{marks}")


def inputs(store: str, path: str, names: Sequence[str]) -> Step:
    """Show store objects, read-only, in a store directory that stays writable for the outputs.

    A store object that is a symbolic link is made anew, since a mount would follow it.

    Args:
        store: the mounted store on the host.
        path: the store directory in the sandbox.
        names: what is shown.
    """
    text = f"mount --bind, read-only, {len(names)} inputs from {store or 'nowhere'}: {' '.join(names)}"
    return Step("inputs", (store, path, tuple(names)), text)


def overlay_store(lower: str, upper: str, work: str, path: str, in_user_namespace: bool) -> Step:
    """Put a writable layer over the read-only store, for builds without a sandbox."""
    text = f"mount -t overlay -o lowerdir={lower},upperdir={upper},workdir={work} overlay {path}"
    return Step("overlay_store", (lower, upper, work, path, in_user_namespace), text)


def proc(path: str, guarded: bool) -> Step:
    """Mount a /proc of the build's own process namespace.

    `guarded` makes what reaches beyond the namespaces (/proc/sys, /proc/sysrq-trigger ...) read-only.
    """
    return Step("proc", (path, guarded), f"mount -t proc proc {path}{' (sys read-only)' if guarded else ''}")


def tmpfs(path: str, options: str) -> Step:
    """Mount an empty file system in memory."""
    return Step("tmpfs", (path, options), f"mount -t tmpfs -o {options} tmpfs {path}")


def terminals() -> Step:
    """Mount a /dev/pts of the build's own; that of the host has the terminals of the user in it."""
    return Step("terminals", (), "mount -t devpts -o newinstance devpts /dev/pts")


def pivot_root() -> Step:
    """Make the prepared root the root, and let go of the host's."""
    return Step("pivot_root", (), "pivot_root")


def seal_root() -> Step:
    """Make the root read-only: what is mounted beneath it keeps its own rules."""
    return Step("seal_root", (), "mount -o remount,ro /")


def session_keyring() -> Step:
    """Begin with an empty session keyring: that of the caller has keys in it which whoever inherits it may read."""
    return Step("session_keyring", (), "keyctl session")


def host_name(host: str, domain: str) -> Step:
    """Set the host and domain name."""
    return Step("host_name", (host, domain), f"hostname {host}; domainname '{domain}'")


def loopback() -> Step:
    """Bring `lo` up."""
    return Step("loopback", (), "ip link set lo up")


def isolate_abstract_sockets() -> Step:
    """Hide the abstract unix sockets of the host from a build that shares its network."""
    return Step("isolate_abstract_sockets", (), "isolate abstract unix sockets")


def personality(bits: int) -> Step:
    """Add bits to the personality: 32-bit, Linux 2.6, no address space randomisation."""
    return Step("personality", (bits,), f"personality {bits:#x}")


def map_user(inner_uid: int, outer_uid: int, inner_gid: int, outer_gid: int) -> Step:
    """As the first process of a new user namespace, say who its one user is on the host."""
    text = f"map uid {inner_uid} to {outer_uid}, gid {inner_gid} to {outer_gid}"
    return Step("map_user", (inner_uid, outer_uid, inner_gid, outer_gid), text)


def become_user(uid: int, gid: int, groups: Sequence[int]) -> Step:
    """Change to a user of the host, keeping only the given supplementary groups."""
    return Step("become_user", (uid, gid, tuple(groups)), f"setuid {uid}, setgid {gid}, groups {tuple(groups)}")


def user_namespace(inner_uid: int, outer_uid: int, inner_gid: int, outer_gid: int) -> Step:
    """Enter a user namespace after everything else is set up, so that it has no power over the other namespaces."""
    text = f"unshare --user; map uid {inner_uid} to {outer_uid}, gid {inner_gid} to {outer_gid}"
    return Step("user_namespace", (inner_uid, outer_uid, inner_gid, outer_gid), text)


def syscall_filter(program: bytes) -> Step:
    """Install a system call filter."""
    return Step("syscall_filter", (program,), f"seccomp filter of {len(program) // 8} instructions")


def no_new_privileges() -> Step:
    """Let no setuid program gain anything."""
    return Step("no_new_privileges", (), "no new privileges")


def drop_capabilities() -> Step:
    """Give up every capability."""
    return Step("drop_capabilities", (), "drop all capabilities")


_FLAG_NAMES = {
    flags.CLONE_NEWUSER: "user",
    flags.CLONE_NEWNS: "mount",
    flags.CLONE_NEWPID: "pid",
    flags.CLONE_NEWNET: "net",
    flags.CLONE_NEWIPC: "ipc",
    flags.CLONE_NEWUTS: "uts",
    flags.CLONE_NEWCGROUP: "cgroup",
}


class Plan:
    """Everything about one child process. Immutable.

    Attributes:
        namespaces: CLONE_NEW* flags; 0 for none.
        steps: executed in order.
        program: what is executed at last.
        arguments: with argv[0].
        environment: complete.
        directory: the working directory, as the program sees it.
        builtin: (module, function, argument) of this package, run in place of a program.
    """

    __slots__ = ("arguments", "builtin", "directory", "environment", "namespaces", "program", "steps")

    def __init__(
        self,
        namespaces: int,
        steps: Sequence[Step],
        program: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: str,
        builtin: tuple[str, str, str] | None = None,
    ) -> None:
        self.namespaces = namespaces
        self.steps = tuple(steps)
        self.program = program
        self.arguments = tuple(arguments)
        self.environment = environment
        self.directory = directory
        self.builtin = builtin

    def encoded(self) -> bytes:
        """The plan as the child reads it. Both sides are the same interpreter, so that `marshal` will do."""
        steps: list[object] = [(step.code, *step.arguments) for step in self.steps]
        strings: list[object] = [self.program, self.arguments, dict(self.environment), self.directory, self.builtin]
        return marshal.dumps([steps, *strings])

    def __str__(self) -> str:
        names = [name for flag, name in _FLAG_NAMES.items() if self.namespaces & flag]
        lines = [f"new namespaces: {' '.join(names) or 'none'}"]
        lines += [str(step) for step in self.steps]
        lines += [f"cd {self.directory}", f"exec {self.program} {' '.join(self.arguments[1:])}"]
        return "\n".join(lines)
