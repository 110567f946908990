"""The life of a mount: from the state directory to a served file system, and to its end.

Joins what the other files of this folder provide; called by `storefs.commands.mount` and by tests. Where a mount should
be, and whether one is needed, is decided below, in `storefs.stores.mountpoint`.

A mount ends when it is unmounted everywhere and nobody uses it: the kernel says so. A process that is asked to stop
(SIGTERM, `retire`) therefore only detaches, and serves on until then; one that dies leaves its mount dead (ENOTCONN),
never empty, and the next command repairs it.
"""

from __future__ import annotations

import errno
import faulthandler
import fcntl
import gc
import os
import resource
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from storefs import logs
from storefs.castore.blobs import BlobStore
from storefs.durable import make_directories
from storefs.errors import StoreError
from storefs.fuse.attach import AlreadyMountedError, Attachment, attach, check_target
from storefs.fuse.control import ControlThread
from storefs.fuse.forest import MetadataForest
from storefs.fuse.invalidation import Invalidator, Notifier
from storefs.fuse.manner import Manner, remember
from storefs.fuse.view import View
from storefs.metadata.environment import open_environment
from storefs.stores import mount_syscalls as syscalls
from storefs.stores.fuse_device import raise_read_ahead
from storefs.stores.mount_control import sockets_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from storefs.fuse.view import Forest, Inode
    from storefs.metadata.environment import Environment
    from storefs.stores.lazy import LazyPaths

    Message = dict[str, object]

TRANSPORTS = ("auto", "kernel", "pyfuse3")
_MOST_DESCRIPTORS = 65536


class Transport(Notifier, Protocol):
    """What serves the kernel's requests.

    `wakes_for_signals` says whether its loop has a wake-up of its own, after which handlers in Python run at once.
    """

    wakes_for_signals: bool

    def serve(self, ready: Callable[[], None]) -> None:
        """Answer until the file system is unmounted."""

    def statistics(self) -> dict[str, int]:
        """Return counters, by name."""


class TransportError(StoreError):
    """The wanted transport can't be used here."""


class MountOptions:
    """What is wanted.

    Args:
        manner: how to serve.
        replace: take the place of a living mount of the same store.
        if_needed: be content with a living mount of the same store.
        lazy: what a lazy mount shows beside the valid paths.
    """

    __slots__ = ("if_needed", "lazy", "manner", "replace")

    def __init__(
        self,
        manner: Manner | None = None,
        *,
        replace: bool = False,
        if_needed: bool = False,
        lazy: LazyPaths | None = None,
    ) -> None:
        self.manner = manner or Manner()
        self.lazy = lazy
        self.if_needed = if_needed
        self.replace = replace


def mount_and_serve(verglas_dir: str, target: str, options: MountOptions, ready: Callable[[], None]) -> None:
    """Mount the store of a state directory on `target` and serve it until it is unmounted and unused.

    Blocks in the main thread, whose signal handlers it takes. Does nothing but call `ready` when a living mount is
    there already and may stay.

    Raises:
        StoreError: it can't be mounted; nothing is left behind.
    """
    with _start_lock(verglas_dir):
        try:
            over = check_target(target, verglas_dir, replace=options.replace)
        except AlreadyMountedError:
            if not options.if_needed:
                raise
            ready()
            return
        # First, before anything is replaced: it may be damaged, or of a newer release.
        environment = open_environment(f"{verglas_dir}/db")
        try:
            attachment = attach(target, verglas_dir, over=over)
            attachment.find_device()
            try:
                remember(verglas_dir, target, options.manner)
                server = MountServer(verglas_dir, attachment, options)
                server.start(ready)
            except BaseException:
                attachment.detach()
                os.close(attachment.fd)
                raise
        finally:
            environment.close()
    server.run()


def serve_descriptor(verglas_dir: str, fd: int, target: str, options: MountOptions, ready: Callable[[], None]) -> None:
    """Serve a FUSE descriptor whose file system somebody else has mounted, and will unmount.

    Blocks as `mount_and_serve` does. For mounts inside a namespace that this process is not part of.
    """
    server = MountServer(verglas_dir, Attachment(fd, target, privileged=False), options)
    server.start(ready)
    server.run()


class MountServer:
    """One served mount: environment, view, transport and control thread, opened and closed together."""

    def __init__(self, verglas_dir: str, attachment: Attachment, options: MountOptions) -> None:
        self._verglas_dir = verglas_dir
        self._attachment = attachment
        self._started = time.time()
        self._reported: set[str] = set()
        self._lazy = options.lazy
        self._manner = options.manner
        self._environment: Environment = open_environment(f"{verglas_dir}/db")
        try:
            self._view = View(self._forest())
            self._side_forest = self._forest()  # the control thread's
            self.kind, self._transport = _make_transport(
                options, attachment, self._view, self._report, lambda: View(self._forest())
            )
        except BaseException:
            self._environment.close()
            raise
        self._invalidator = Invalidator(self._transport, self._view, self._side_forest)
        self._control = ControlThread(
            verglas_dir,
            {"forget": self._forget, "status": self._status, "retire": self._retire},
            self._keep_read_only if attachment.device else None,
            self._invalidator.chore,
        )
        if options.lazy is not None:
            options.lazy.when_refuted = lambda path: self._control.soon(
                lambda: self._invalidator.forget_name(path.base_name.encode())
            )
        self._ready: Callable[[], None] = lambda: None
        self._failure: Exception | None = None

    def start(self, ready: Callable[[], None]) -> None:
        """Prepare the process to serve; `ready` is called when the first request has been answered.

        If `ready` fails nobody knows that this is mounted: it is unmounted again, and `run` raises what went wrong.
        """
        self._ready = ready
        _raise_descriptor_limit()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._after_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if not self._transport.wakes_for_signals:
            self._control.take_signals(self._on_signal)
        self._control.start()

    def run(self) -> None:
        """Serve until the end, then close everything."""
        gc.collect()
        gc.freeze()  # what start-up made stays; serving makes no cycles, and a collection would delay an answer
        try:
            self._transport.serve(self._when_ready)
        finally:
            self._control.close()
            self._view.close()
            self._environment.close()
            os.close(self._attachment.fd)
        if self._failure is not None:
            raise self._failure

    def _forest(self) -> Forest:
        forest = MetadataForest(self._environment, self._verglas_dir, BlobStore(self._verglas_dir).path)
        if self._lazy is None:
            return forest
        from storefs.fuse.lazy_forest import LazyForest  # noqa: PLC0415  lazy mounts are rare

        return LazyForest(forest, self._lazy)

    def _when_ready(self) -> None:
        if self._attachment.device and self._attachment.privileged:
            raise_read_ahead(self._attachment.device)
        try:
            self._ready()
        except Exception as error:  # whatever it was: the transport can do nothing about it
            self._failure = error
            self._control.soon(self._attachment.detach)

    # In the control thread.

    def _forget(self, request: Message) -> Message:
        names, roots = request.get("names", ()), request.get("roots", ())
        assert isinstance(names, list)
        assert isinstance(roots, list)
        return {"held": self._invalidator.forget_paths([name.encode() for name in names], map(int, roots))}

    def _status(self, request: Message) -> Message:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "pid": os.getpid(),
            "target": self._attachment.target,
            "mounted": [mount.target for mount in self._attachment.visible_mounts()],
            "transport": self.kind,
            "options": self._manner.words(),
            "seconds": round(time.time() - self._started, 3),
            "cpu seconds": round(usage.ru_utime + usage.ru_stime, 3),
            "anonymous KiB": _anonymous_memory(),
            "counters": self.statistics(),
        }

    def _retire(self, request: Message) -> Message:
        self._attachment.detach()
        return {}

    def _keep_read_only(self) -> None:
        """Undo `mount -o remount,rw`: with it, a write to a shared mapping would change what others read."""
        for mount in self._attachment.visible_mounts():
            if mount.super_options.split(",")[0] == "rw" and self._attachment.privileged:
                flags = syscalls.MS_REMOUNT | syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV
                syscalls.mount("", mount.target, "", flags)
                logs.warn(f"'{mount.target}' was made writable; it is read-only again")

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGUSR1:
            self._log_state()
            return
        if not self._attachment.device:
            # Somebody else's mount: it stays, dead, until they unmount it.
            os._exit(128 + number)  # child of a command that has ended
        self._attachment.detach()

    def _log_state(self) -> None:
        # Not faulthandler.register(): it reads frames that other threads are changing, which ended the process.
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        for name, value in self.statistics().items():
            logs.info(f"{name}: {value}")

    def statistics(self) -> dict[str, int]:
        """Return the counters of transport and view. Any thread."""
        return {**self._transport.statistics(), **self._view.statistics()}

    # In any thread.

    def _report(self, text: str, inode: Inode | None) -> None:
        if text in self._reported:
            return
        self._reported.add(text)
        self._control.soon(lambda: self._log_failure(text, inode))

    def _log_failure(self, text: str, inode: Inode | None) -> None:
        where = "" if inode is None else f"store path '{self._view.store_path_of(inode, self._side_forest)}': "
        logs.warn(where + text)

    # In the main thread.

    def _after_signal(self, number: int, frame: object) -> None:
        if self._transport.wakes_for_signals:
            self._control.soon(lambda: self._on_signal(number))
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)  # a second ^C is meant; a service manager repeats itself


def _make_transport(
    options: MountOptions,
    attachment: Attachment,
    view: View,
    report: Callable[[str, Inode | None], None],
    make_view: Callable[[], View],
) -> tuple[str, Transport]:
    kind = options.manner.transport
    if kind == "auto":
        kind = "kernel" if sys.byteorder == "little" and _kernel_release() >= (5, 4) else "pyfuse3"
    # One transport's imports are enough memory; pyfuse3 imports trio.
    if kind == "kernel" and options.lazy is not None:
        from storefs.fuse.lazy_kernel import LazyKernelServer  # noqa: PLC0415

        return kind, LazyKernelServer(attachment.fd, view, report, make_view)
    if kind == "kernel":
        from storefs.fuse.kernel import KernelServer  # noqa: PLC0415

        return kind, KernelServer(attachment.fd, view, report, passthrough=options.manner.passthrough)
    if kind == "pyfuse3" and options.lazy is not None:
        from storefs.fuse.lazy_operations import LazyPyfuse3Server  # noqa: PLC0415

        return kind, LazyPyfuse3Server(attachment.fd, view, report)
    if kind == "pyfuse3":
        from storefs.fuse.operations import Pyfuse3Server  # noqa: PLC0415

        return kind, Pyfuse3Server(attachment.fd, view, report)
    raise TransportError(f"there is no transport '{kind}'; choose one of {', '.join(TRANSPORTS)}")


def _kernel_release() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(character for character in minor if character.isdigit()) or 0)


@contextmanager
def _start_lock(verglas_dir: str) -> Iterator[None]:
    """Let one process at a time decide whether a mount is missing."""
    make_directories(verglas_dir, mode=0o700)  # as a store makes it: whoever comes first decides
    make_directories(sockets_dir(verglas_dir), mode=0o700)
    with open(f"{sockets_dir(verglas_dir)}/lock", "a", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _anonymous_memory() -> int:
    """Return this process's anonymous resident memory in KiB: its own, without the mapped database."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1])
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    return 0
