"""The process that starts builders: a small server that forks into namespaces, follows a plan, and executes.

Started by `spawn.py` as a program of its own, on the standard library only. A builder can't be forked from the main
process, which has threads and hundreds of modules; and starting Python anew for each build would cost 10 ms. So one
server with a single thread waits for requests and forks itself: that takes half a millisecond.

The builder itself is process 1 of its namespace, as with Nix: nothing of ours stays in between. It is the reaper
there; what it does not wait for remains a zombie until it exits, and then the kernel ends every other process. As for
any first process, signals from inside its namespace without a handler do nothing; the host kills it with SIGKILL.

The protocol, over a SOCK_SEQPACKET socket at descriptor 3, in `marshal` (both sides are the same interpreter):

    -> ("spawn", number, namespaces) with three descriptors: the plan (a memfd), the builder's output, the report
    -> ("kill", number)
    report: b"P<pid>\n" the child exists; b"E<text>\n" a step failed; b"S<wait status>\n" it ended, then end of file.

When the other side of the socket is gone, every child is killed and the server ends: a main process that dies, however
it dies, leaves no builder.
"""

from __future__ import annotations

# The C modules beneath `signal` and `socket`: those two take as long to import as the rest of a build's start.
import _signal  # type: ignore[import-not-found]
import _socket
import marshal
import os
import resource
import select
import struct
import sys

from builder.sandbox import flags, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

CONTROL = 3
_TARGET_OF_PIVOT = ".old-root"


class _Child:
    """A builder that runs."""

    __slots__ = ("number", "pid", "report")

    def __init__(self, number: int, pid: int, report: int) -> None:
        self.number = number
        self.pid = pid
        self.report = report


def serve() -> NoReturn:
    """Answer requests until the other side closes the socket."""
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)
    _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    _signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    control = _socket.socket(fileno=CONTROL)
    os.set_inheritable(CONTROL, False)
    children: dict[int, _Child] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == wake_read:
                os.read(wake_read, 512)
                _reap(children)
            elif not _answer(control, children):
                _kill_all(children)
                os._exit(0)  # child


def _answer(control: _socket.socket, children: dict[int, _Child]) -> bool:
    """Serve one request; False when the other side is gone."""
    data, ancillary, _, _ = control.recvmsg(4096, _socket.CMSG_SPACE(12), _socket.MSG_CMSG_CLOEXEC)
    if not data:
        return False
    request = marshal.loads(data)
    if request[0] == "kill":
        for child in children.values():
            if child.number == request[1]:
                os.kill(child.pid, _signal.SIGKILL)
        return True
    _, number, namespaces = request
    plan, output, report = struct.unpack("3i", ancillary[0][2])
    try:
        pid = syscalls.clone_process(namespaces)
    except OSError as error:
        os.write(report, f"E{error.strerror or error}\nS256\n".encode())
        os.close(report)
        pid = -1
    if pid == 0:
        _become_builder(plan, output, report)
    os.close(plan)
    os.close(output)
    if pid > 0:
        children[pid] = _Child(number, pid, report)
        os.write(report, b"P%d\n" % pid)
    return True


def _reap(children: dict[int, _Child]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        child = children.pop(pid, None)
        if child is not None:
            try:
                os.write(child.report, b"S%d\n" % status)
            except OSError:
                pass  # nobody waits for it any more
            os.close(child.report)


def _kill_all(children: dict[int, _Child]) -> None:
    for pid in children:
        try:
            # A builder without namespaces leads a process group; one with them takes its namespace along.
            os.killpg(pid, _signal.SIGKILL)
        except OSError:
            pass
        os.kill(pid, _signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)


def _become_builder(plan: int, output: int, report: int) -> NoReturn:
    """In the child: follow the plan and execute the builder. Never returns, never raises."""
    doing = "reading the plan"
    try:
        _signal.set_wakeup_fd(-1)
        for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGCHLD, _signal.SIGPIPE, _signal.SIGXFSZ):
            _signal.signal(number, _signal.SIG_DFL)
        os.setsid()
        steps, program, arguments, environment, directory, builtin = _receive(plan)
        # Imported while the host's files can still be read.
        function = None if builtin is None else _function(builtin[0], builtin[1])
        os.dup2(output, 1)
        os.dup2(output, 2)
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        sandbox = Sandbox()
        for code, *values in steps:
            doing = code.replace("_", " ")
            getattr(sandbox, code)(*values)
        doing = f"changing into '{directory}'"
        os.chdir(directory)
        syscalls.die_with_parent()
        os.umask(0o022)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.RLIM_INFINITY))
        # Nothing but standard input, output and error may reach the builder.
        report = os.dup2(report, 3, inheritable=False)
        os.closerange(4, 1 << 20)
        if function is not None:
            _run_builtin(function, environment, builtin[2])
        doing = f"executing '{program}'"
        os.execve(program, arguments, environment)
    except BaseException as error:
        if isinstance(error, OSError):
            text = (error.strerror or str(error)) + (f" '{error.filename}'" if error.filename else "")
        else:
            text = f"{type(error).__name__}: {error}"
        try:
            os.write(report, f"E{doing}: {text}\n".replace("\n", " ").encode(errors="replace") + b"\n")
        finally:
            os._exit(1)  # child


def _receive(plan: int) -> tuple:  # type: ignore[type-arg]
    size = os.fstat(plan).st_size
    return marshal.loads(os.pread(plan, size, 0))  # type: ignore[no-any-return]


def _function(module: str, name: str) -> Callable[[dict[str, str], str], None]:
    from importlib import import_module  # noqa: PLC0415  few builds need it

    return getattr(import_module(module), name)  # type: ignore[no-any-return]


def _run_builtin(
    function: Callable[[dict[str, str], str], None], environment: dict[str, str], argument: str
) -> NoReturn:
    """Run a builder that is a function of ours."""
    os.closerange(3, 4)
    os.environ.clear()
    os.environ.update(environment)
    status = 1
    try:
        function(environment, argument)
        status = 0
    except Exception as error:
        os.write(2, f"error: {error}\n".encode(errors="surrogateescape"))
    finally:
        os._exit(status)  # child


class Sandbox:
    """The steps of `plan.py`, executed. Paths lie beneath `root` until the root is changed."""

    def __init__(self) -> None:
        self._root = ""

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

    def bind(self, source: str, path: str, optional: bool, read_only: bool) -> None:
        """See plan.bind."""
        try:
            folder = os.path.isdir(source) if os.stat(source) else False
        except FileNotFoundError:
            if optional:
                return
            raise
        target = self._root + path
        _mount_point(target, folder)
        syscalls.mount(source, target, flags=flags.MS_BIND | flags.MS_REC)
        if read_only:
            _make_read_only([target])

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
        os.chdir(self._root)
        os.mkdir(_TARGET_OF_PIVOT)
        syscalls.pivot_root(".", _TARGET_OF_PIVOT)
        os.chdir("/")
        syscalls.unmount(_TARGET_OF_PIVOT)
        os.rmdir(_TARGET_OF_PIVOT)
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


def _mount_point(target: str, folder: bool) -> None:
    if folder:
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))


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


if __name__ == "__main__":
    sys.exit("this module is started by builder.sandbox.spawn")  # child
