"""Composes the plan of a build from what is known about it. Pure: values in, a `Plan` out.

Two shapes: the sandbox, whose root holds nothing but what was declared; and the open one for `sandbox = false`, where
the builder sees the host, with a writable layer over the store that only it can see.

With root's powers the user namespace is entered last, when all else is set up: the other namespaces then belong to
the host's root and the builder has no power over them at all. Without them it must be the first, since it is what
allows the others; the builder then drops the powers that this gave.
"""

from __future__ import annotations

import os

from builder.sandbox import flags
from builder.sandbox import plan as steps
from builder.sandbox.seccomp import build_filter
from storefs.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.environment import BuildEnvironment
    from builder.sandbox.plan import Bind, Plan, Step

    Builtin = tuple[str, str, str]

# What a builder sees itself as, in a user namespace; the numbers are Nix's.
SANDBOX_UID, SANDBOX_GID = 1000, 100

# Where a static shell may be that becomes /bin/sh, unless `sandbox-paths` has one.
SHELLS = ("/usr/bin/busybox", "/bin/busybox")

_DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
_HOST_FILES_OF_NETWORKED = ("/etc/resolv.conf", "/etc/services", "/etc/hosts")


@record(frozen=True, slots=True)
class Surroundings:
    """What a plan is composed from.

    Attributes:
        scratch: a directory of the host that this build alone uses, with `root`, `store`, `work` and `tmp` in it.
        host_build_dir: the build directory on the host.
        build_dir: the build directory as the builder sees it.
        store_dir: the logical store directory.
        mounted_store: where the host sees the store; '' when the build has no inputs and needs none.
        inputs: names in the store that the builder may see.
        uid, gid, groups: the user of the host it runs as.
        foreign: whether that is another one than this process's.
        privileged: whether this process is root.
        user_namespaces: whether the kernel allows them.
        networked: whether it may use the host's network.
        binds: `sandbox-paths` and what a pre-build hook adds.
        system: of the derivation, as in `i686-linux`.
        kvm: whether /dev/kvm is to be there.
        shm_size: `sandbox-dev-shm-size`.
        control_group: the directory of its control group, '' for none of its own.
        filter_syscalls, new_privileges, impersonate_26: the settings of these names.
    """

    scratch: str
    host_build_dir: str
    build_dir: str
    store_dir: str
    mounted_store: str
    inputs: Sequence[str]
    uid: int
    gid: int
    groups: tuple[int, ...]
    foreign: bool
    privileged: bool
    user_namespaces: bool
    networked: bool
    system: str
    binds: Sequence[Bind] = ()
    kvm: bool = False
    shm_size: str = "50%"
    control_group: str = ""
    filter_syscalls: bool = True
    new_privileges: bool = False
    impersonate_26: bool = False

    @property
    def inner_ids(self) -> tuple[int, int]:
        """The uid and gid that a sandboxed builder sees itself as."""
        if self.user_namespaces or not self.privileged:
            return SANDBOX_UID, SANDBOX_GID
        return self.uid, self.gid


def sandbox_plan(
    around: Surroundings, program: str, environment: BuildEnvironment, builtin: Builtin | None = None
) -> Plan:
    """Compose the plan of a sandboxed build."""
    namespaces = (
        flags.CLONE_NEWNS | flags.CLONE_NEWPID | flags.CLONE_NEWIPC | flags.CLONE_NEWUTS
    ) | flags.CLONE_NEWCGROUP
    uid, gid = around.inner_ids
    before = _control_group(around)
    if before:
        namespaces &= ~flags.CLONE_NEWCGROUP
    if not around.privileged:
        namespaces |= flags.CLONE_NEWUSER
        before.append(steps.map_user(uid, around.uid, gid, around.gid))
    if not around.networked:
        namespaces |= flags.CLONE_NEWNET
        before.append(steps.loopback())
    file_tree = [
        steps.private_mounts(),
        steps.root_directory(f"{around.scratch}/root"),
        *_devices(around),
        *_etc(around, uid, gid),
        steps.bind(f"{around.scratch}/tmp", "/tmp", own=True),
        steps.bind(around.host_build_dir, around.build_dir, own=True),
        steps.bind(f"{around.scratch}/store", around.store_dir, own=True),
        steps.inputs(around.mounted_store, around.store_dir, around.inputs),
        # In order of length, so that what lies within another bind is mounted after it.
        *(
            steps.bind(each.source, each.path, each.optional, each.read_only)
            for each in sorted(around.binds, key=lambda each: len(each.path))
            if each.path != "/proc"
        ),
        steps.proc("/proc", True),
        steps.pivot_root(),
        steps.seal_root(),
        steps.session_keyring(),
        steps.host_name("localhost", "(none)"),
    ]
    after = _personality(around) + _filter(around)
    if around.privileged:
        after.append(steps.become_user(around.uid, around.gid, around.groups))
        if around.user_namespaces:
            after.append(steps.user_namespace(uid, around.uid, gid, around.gid))
    after += _no_new_privileges(around)
    if around.networked and not around.new_privileges:
        after.append(steps.isolate_abstract_sockets())
    if not around.privileged or around.user_namespaces:
        after.append(steps.drop_capabilities())
    return _plan(namespaces, [*before, *file_tree, *after], program, environment, around.build_dir, builtin)


def open_plan(
    around: Surroundings, program: str, environment: BuildEnvironment, builtin: Builtin | None = None
) -> Plan:
    """Compose the plan of a build without a sandbox, which still gets a store directory that it can write to.

    A namespace for processes is part of it, because nothing else ends everything that a build has started.
    """
    namespaces = flags.CLONE_NEWNS | flags.CLONE_NEWPID
    before = _control_group(around)
    if not around.privileged:
        namespaces |= flags.CLONE_NEWUSER
        before.append(steps.map_user(around.uid, around.uid, around.gid, around.gid))
    scratch = around.scratch
    layer = steps.overlay_store(
        around.mounted_store, f"{scratch}/store", f"{scratch}/work", around.store_dir, not around.privileged
    )
    after = _personality(around) + _filter(around)
    if around.foreign:
        after.append(steps.become_user(around.uid, around.gid, around.groups))
    after += _no_new_privileges(around)
    plan = [*before, steps.private_mounts(), layer, steps.proc("/proc", False), steps.session_keyring(), *after]
    return _plan(namespaces, plan, program, environment, around.build_dir, builtin)


def _plan(
    namespaces: int,
    plan: Sequence[Step],
    program: str,
    environment: BuildEnvironment,
    directory: str,
    builtin: Builtin | None,
) -> Plan:
    arguments = [os.path.basename(program), *environment.arguments]
    return steps.Plan(namespaces, tuple(plan), program, arguments, environment.variables, directory, builtin)


def _control_group(around: Surroundings) -> list[Step]:
    return [steps.control_group(around.control_group)] if around.control_group else []


def _devices(around: Surroundings) -> list[Step]:
    if any(bind.path == "/dev" for bind in around.binds):
        return []
    names = _DEVICES + (("kvm",) if around.kvm else ())
    made: list[Step] = [steps.directory("/dev")]
    made += [steps.bind(f"/dev/{name}", f"/dev/{name}", name == "kvm") for name in names]
    made.append(steps.symlink("/proc/self/fd", "/dev/fd"))
    made += [
        steps.symlink(f"/proc/self/fd/{n}", f"/dev/{name}") for n, name in enumerate(("stdin", "stdout", "stderr"))
    ]
    made.append(steps.tmpfs("/dev/shm", f"size={around.shm_size},mode=1777"))
    if not any(bind.path == "/dev/pts" for bind in around.binds):
        made.append(steps.terminals())
    return made


def _etc(around: Surroundings, uid: int, gid: int) -> list[Step]:
    home = around.build_dir
    passwd = (
        f"root:x:0:0:Nix build user:{home}:/noshell\n"
        f"nixbld:x:{uid}:{gid}:Nix build user:{home}:/noshell\n"
        "nobody:x:65534:65534:Nobody:/:/noshell\n"
    )
    made: list[Step] = [
        steps.directory("/etc"),
        steps.file("/etc/passwd", passwd),
        steps.file("/etc/group", f"root:x:0:\nnixbld:!:{gid}:\nnogroup:x:65534:\n"),
    ]
    if around.networked:
        # Resolve hosts and services like the host does, and nothing else.
        made.append(steps.file("/etc/nsswitch.conf", "hosts: files dns\nservices: files\n"))
        made += [steps.bind(path, path, True, True) for path in _HOST_FILES_OF_NETWORKED]
    else:
        made.append(steps.file("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"))
    return made


def _personality(around: Surroundings) -> list[Step]:
    bits = flags.ADDR_NO_RANDOMIZE
    machine = os.uname().machine
    if (around.system == "i686-linux" and machine == "x86_64") or around.system in {"armv7l-linux", "armv6l-linux"}:
        bits |= flags.PER_LINUX32
    if around.impersonate_26 and around.system in {"i686-linux", "x86_64-linux"}:
        bits |= flags.UNAME26
    return [steps.personality(bits)]


def _filter(around: Surroundings) -> list[Step]:
    """The system call filter; it comes while the process may still install one without forswearing privileges."""
    machine = os.uname().machine
    program = build_filter(machine, socketcall=around.system == "i686-linux") if around.filter_syscalls else b""
    return [steps.syscall_filter(program)] if program else []


def _no_new_privileges(around: Surroundings) -> list[Step]:
    return [] if around.new_privileges else [steps.no_new_privileges()]
