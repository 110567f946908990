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

from builder.sandbox import syscalls
from builder.sandbox.execute import Sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

CONTROL = 3


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


if __name__ == "__main__":
    sys.exit("this module is started by builder.sandbox.spawn")  # child
