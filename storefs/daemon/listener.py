"""The daemon's socket, and one process for each client.

A process per connection, as Nix has it: a client's crash, memory and cancelled builds end with its process, and queries
are answered by a plain blocking loop. The listening process opens no database and runs no event loop: it may fork.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from storefs import logs
from storefs.daemon.peer import peer_of
from storefs.errors import StoreError, SystemRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.config import Config
    from storefs.daemon.peer import Peer

_FIRST_PASSED_FD = 3  # sd_listen_fds(3)
_BACKLOG = 128


class BadActivationError(StoreError):
    """The service manager's variables do not belong to this process."""


def open_listener(config: Config, path: str) -> socket.socket:
    """Return the listening socket: the one that systemd passed, or a new one at `path`, mode 0666.

    Raises:
        BadActivationError: LISTEN_FDS or LISTEN_PID are not those of one socket for this process.
        SystemRefusedError: the socket can't be made.
    """
    passed = config.variable("LISTEN_FDS")
    if passed:
        if passed != "1" or config.variable("LISTEN_PID") != str(os.getpid()):
            raise BadActivationError("unexpected systemd environment variables")
        os.set_inheritable(_FIRST_PASSED_FD, False)
        return socket.socket(fileno=_FIRST_PASSED_FD)
    try:
        return bind_socket(path)
    except OSError as error:
        raise SystemRefusedError(f"binding the daemon's socket '{path}'", error) from error


def bind_socket(path: str) -> socket.socket:
    """Bind a new listening unix socket at `path`, of any length, in place of an old one."""
    folder, name = os.path.split(path)
    os.makedirs(folder, 0o755, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Names longer than 107 bytes are reached through a descriptor of their directory. The socket appears under its
    # name only when it is ready, so that no client sees one that refuses.
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        temporary = f".{name}-{os.getpid()}"
        listener.bind(f"/proc/self/fd/{fd}/{temporary}")
        os.chmod(temporary, 0o666, dir_fd=fd)
        listener.listen(_BACKLOG)
        os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(fd)
    return listener


def serve_forever(listener: socket.socket, config: Config, serve: Callable[[socket.socket, Peer], None]) -> None:
    """Accept clients until SIGTERM or SIGINT, and serve each in a process of its own.

    Args:
        listener: a listening socket; closed at the end.
        config: for `trusted-users` and `allowed-users`.
        serve: serves one client; called in the new process, whose end is the client's end.

    On SIGTERM no new clients are taken, the processes of those that are there get SIGTERM too, and the function returns
    when they have ended.
    """
    children: set[int] = set()
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    # Python restarts accept(2) after a handler that returns; a wake-up descriptor is what ends the wait.
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
    previous_wakeup = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    try:
        import select  # noqa: PLC0415  only here

        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        listener.setblocking(False)
        gc.collect()
        gc.freeze()  # what is there now is shared with every client's process, until a collector writes to it
        while not stopping:
            for fd, _ in poll.poll():
                if fd == wake_read:
                    os.read(wake_read, 4096)
                    _reap(children)
                else:
                    _accept(listener, config, serve, children)
    finally:
        listener.close()
        signal.set_wakeup_fd(previous_wakeup)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(wake_read)
        os.close(wake_write)
        for child in children:
            _signal(child, signal.SIGTERM)
        for child in children:
            _wait(child)


def _accept(
    listener: socket.socket, config: Config, serve: Callable[[socket.socket, Peer], None], children: set[int]
) -> None:
    try:
        connection, _ = listener.accept()
    except OSError:
        return  # the client has gone again, or another process of a shared socket was faster
    with connection:
        connection.setblocking(True)
        try:
            peer = peer_of(connection, config)
        except (StoreError, OSError) as error:
            logs.error(f"error processing connection: {error}")
            return
        logs.info(f"accepted connection from {peer}")
        child = os.fork()
        if child:
            children.add(child)
            return
        status = 1
        try:
            listener.close()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            serve(connection, peer)
            status = 0
        except StoreError as error:
            logs.error(f"error processing client input: {error} ({peer})")
        except Exception as error:  # a bug must end this client's process only, and be known
            logs.error(f"internal error while serving {peer}: {type(error).__name__}: {error}")
        finally:
            sys.stderr.flush()
            os._exit(status)  # child


def _reap(children: set[int]) -> None:
    for child in list(children):
        try:
            if os.waitpid(child, os.WNOHANG)[0]:
                children.discard(child)
        except ChildProcessError:
            children.discard(child)


def _signal(child: int, number: int) -> None:
    try:
        os.kill(child, number)
    except ProcessLookupError:
        pass


def _wait(child: int) -> None:
    try:
        os.waitpid(child, 0)
    except ChildProcessError:
        pass
