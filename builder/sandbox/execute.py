"""The steps of `plan.py`, executed one after the other by the child that becomes the builder.

On the standard library only, between clone(2) and execve(2). Each method raises OSError; `enter.py` says which step it
was. Nothing is decided here.
"""

from __future__ import annotations

import os

from builder.sandbox import flags, syscalls
from builder.sandbox.mount_points import MountPoints


class Sandbox:
    """The steps of `plan.py`, executed. Paths lie beneath `root` until the root is changed."""

    def __init__(self) -> None:
        self._root = ""
        self._mount_points: MountPoints | None = None

    def control_group(self, path: str) -> None:
        """See plan.control_group."""
        descriptor = os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"0")
        finally:
            os.close(descriptor)
        # Only now: the namespace's root is the group in which its first process is when it begins.
        syscalls.unshare(flags.CLONE_NEWCGROUP)

    def private_mounts(self) -> None:
        """See plan.private_mounts."""
        syscalls.mount("none", "/", flags=flags.MS_PRIVATE | flags.MS_REC)

    def root_directory(self, host: str) -> None:
        """See plan.root_directory."""
        syscalls.mount("tmpfs", host, "tmpfs", flags.MS_NOSUID | flags.MS_NODEV, "mode=0755")
        self._root = host
        self._mount_points = MountPoints(host)

    def directory(self, path: str, mode: int) -> None:
        """See plan.directory."""
        os.makedirs(self._root + path, exist_ok=True)
        os.chmod(self._root + path, mode)

    def file(self, path: str, content: str) -> None:
        """See plan.file."""
        with open(self._root + path, "w", encoding="utf-8") as file:
            file.write(content)

    def symlink(self, target: str, path: str) -> None:
        """See plan.symlink."""
        os.symlink(target, self._root + path)

    def bind(self, source: str, path: str, optional: bool, read_only: bool, own: bool) -> None:
        """See plan.bind."""
        try:
            folder = os.path.isdir(source) if os.stat(source) else False
        except FileNotFoundError:
            if optional:
                return
            raise
        assert self._mount_points is not None
        self._mount_points.mount(source, path, flags.MS_BIND | flags.MS_REC, folder=folder, own=own)
        if read_only:
            _make_read_only([self._root + path])

    def inputs(self, store: str, path: str, names: tuple[str, ...]) -> None:
        """See plan.inputs."""
        top = self._root + path
        mounted = []
        for name in names:
            source, target = f"{store}/{name}", f"{top}/{name}"
            kind = os.lstat(source).st_mode & 0o170000
            if kind == 0o120000:
                os.symlink(os.readlink(source), target)
                continue
            if kind == 0o040000:
                os.mkdir(target)
            else:
                os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o444))
            syscalls.mount(source, target, flags=flags.MS_BIND)
            mounted.append(target)
        try:
            syscalls.set_read_only(top, recursive=True)
            syscalls.set_read_only(top, recursive=False, value=False)
        except OSError:
            _make_read_only(mounted)

    def overlay_store(self, lower: str, upper: str, work: str, path: str, in_user_namespace: bool) -> None:
        """See plan.overlay_store."""
        options = f"lowerdir={_escaped(lower)},upperdir={_escaped(upper)},workdir={_escaped(work)}"
        syscalls.mount("overlay", path, "overlay", 0, options + (",userxattr" if in_user_namespace else ""))

    def proc(self, path: str, guarded: bool) -> None:
        """See plan.proc."""
        target = self._root + path
        os.makedirs(target, exist_ok=True)
        safe = flags.MS_NOSUID | flags.MS_NODEV | flags.MS_NOEXEC
        syscalls.mount("proc", target, "proc", safe)
        if guarded:
            for name in ("sys", "sysrq-trigger", "irq", "bus", "fs"):
                part = f"{target}/{name}"
                if os.path.exists(part):
                    syscalls.mount(part, part, flags=flags.MS_BIND | flags.MS_REC)
                    _make_read_only([part], safe)

    def tmpfs(self, path: str, options: str) -> None:
        """See plan.tmpfs."""
        os.makedirs(self._root + path, exist_ok=True)
        syscalls.mount("tmpfs", self._root + path, "tmpfs", flags.MS_NOSUID | flags.MS_NODEV, options)

    def terminals(self) -> None:
        """See plan.terminals."""
        target = self._root + "/dev/pts"
        os.makedirs(target, exist_ok=True)
        syscalls.mount("devpts", target, "devpts", flags.MS_NOSUID, "newinstance,mode=0620,ptmxmode=0666")
        os.symlink("/dev/pts/ptmx", self._root + "/dev/ptmx")

    def pivot_root(self) -> None:
        """See plan.pivot_root."""
        assert self._mount_points is not None
        self._mount_points.close()
        os.chdir(self._root)
        # The old root comes to lie over the new one, where no directory need be made for it (pivot_root(2), NOTES).
        syscalls.pivot_root(".", ".")
        syscalls.unmount(".")
        os.chdir("/")
        self._root = ""

    def seal_root(self) -> None:
        """See plan.seal_root."""
        _make_read_only(["/"], recursive=False)

    def session_keyring(self) -> None:
        """See plan.session_keyring."""
        syscalls.join_new_session_keyring()

    def host_name(self, host: str, domain: str) -> None:
        """See plan.host_name."""
        syscalls.set_host_name(host)
        syscalls.set_domain_name(domain)

    def loopback(self) -> None:
        """See plan.loopback."""
        syscalls.raise_loopback()

    def isolate_abstract_sockets(self) -> None:
        """See plan.isolate_abstract_sockets."""
        syscalls.isolate_abstract_sockets()

    def personality(self, bits: int) -> None:
        """See plan.personality."""
        syscalls.change_personality(bits)

    def map_user(self, inner_uid: int, outer_uid: int, inner_gid: int, outer_gid: int) -> None:
        """See plan.map_user."""
        # setgroups must be denied before an unprivileged process may map a group (user_namespaces(7)).
        for name, content in (
            ("setgroups", "deny"),
            ("uid_map", f"{inner_uid} {outer_uid} 1"),
            ("gid_map", f"{inner_gid} {outer_gid} 1"),
        ):
            descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
            try:
                os.write(descriptor, content.encode())
            finally:
                os.close(descriptor)

    def become_user(self, uid: int, gid: int, groups: tuple[int, ...]) -> None:
        """See plan.become_user."""
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        syscalls.set_dumpable()

    def user_namespace(self, inner_uid: int, outer_uid: int, inner_gid: int, outer_gid: int) -> None:
        """See plan.user_namespace."""
        syscalls.unshare(flags.CLONE_NEWUSER)
        syscalls.set_dumpable()
        self.map_user(inner_uid, outer_uid, inner_gid, outer_gid)

    def syscall_filter(self, program: bytes) -> None:
        """See plan.syscall_filter."""
        syscalls.install_filter(program)

    def no_new_privileges(self) -> None:
        """See plan.no_new_privileges."""
        syscalls.set_no_new_privileges()

    def drop_capabilities(self) -> None:
        """See plan.drop_capabilities."""
        syscalls.drop_capabilities()


def _make_read_only(targets: list[str], keep: int = 0, *, recursive: bool = True) -> None:
    """Make mounts read-only one by one; on kernels before 5.12 without touching what is mounted beneath them."""
    for target in targets:
        try:
            syscalls.set_read_only(target, recursive=recursive)
        except OSError:
            remount = flags.MS_REMOUNT | flags.MS_BIND | flags.MS_RDONLY | flags.MS_NOSUID | flags.MS_NODEV
            syscalls.mount("none", target, flags=remount | keep)


def _escaped(path: str) -> str:
    """Write a path as overlayfs wants it in an option."""
    return path.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")
