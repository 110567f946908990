"""The thread beside a transport: answers `storefs.stores.mount_control`, watches the mount, carries signals out.

It owns everything that must not happen in the serving thread: notifications to the kernel (which can wait for a
look-up that the serving thread has to answer), slow searches for messages, unmounting. `invalidation.py` says how
paths are forgotten; this file only listens.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from storefs import logs
from storefs.stores.mount_control import SUFFIX, receive_line, sockets_dir, through_descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Message = dict[str, object]

CHORE_SECONDS = 1.0
_CLIENT_PATIENCE = 10.0  # seconds for a client to say what it wants


class ControlThread:
    """Listens on a socket of its own below `<verglas_dir>/mounts`.

    Args:
        verglas_dir: the state that is served.
        operations: what to do for each `op`, called in this thread with the request; returns the answer's fields.
        watch: called, in this thread, whenever the mount table of this namespace changed.
        chore: asked, in this thread, after every event; what it returns is run a second later, and it is asked again.
    """

    def __init__(
        self,
        verglas_dir: str,
        operations: Mapping[str, Callable[[Message], Message]],
        watch: Callable[[], None] | None = None,
        chore: Callable[[], Callable[[], None] | None] = lambda: None,
    ) -> None:
        self._operations = operations
        self._watch = watch
        self._chore = chore
        self._errands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._ended = False
        self.name = f"{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}"
        os.makedirs(sockets_dir(verglas_dir), mode=0o700, exist_ok=True)
        self._directory = os.open(sockets_dir(verglas_dir), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._signals, self._signals_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._on_signal: Callable[[int], None] | None = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(through_descriptor(self._directory, self.name))
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def take_signals(self, act: Callable[[int], None]) -> None:
        """Call `act` in this thread for every signal that has a handler. Call it before `start`, in the main thread.

        A handler runs between two instructions of the main thread, which may have begun to wait for a request just
        after the signal came; signal.set_wakeup_fd() has no such gap.
        """
        self._on_signal = act
        signal.set_wakeup_fd(self._signals_in, warn_on_full_buffer=False)

    def soon(self, errand: Callable[[], None]) -> None:
        """Run something in this thread, later. Safe in signal handlers and any thread; never blocks."""
        self._errands.put(errand)
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """End the thread and remove the socket. Waits for the request that is being answered."""
        self._ended = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        try:
            os.unlink(self.name, dir_fd=self._directory)
        except FileNotFoundError:
            pass
        self._listener.close()
        if self._on_signal is not None:
            signal.set_wakeup_fd(-1)
        for fd in (self._directory, self._wake, self._signals, self._signals_in):
            os.close(fd)

    def _run(self) -> None:
        with open("/proc/self/mountinfo", "rb") as table:
            poll = select.poll()
            poll.register(self._listener, select.POLLIN)
            poll.register(self._wake, select.POLLIN)
            poll.register(self._signals, select.POLLIN)
            if self._watch is not None:
                poll.register(table, select.POLLPRI | select.POLLERR)
            due = 0.0
            while not self._ended:
                chore = self._chore()
                now = time.monotonic()
                if chore is None:
                    due = 0.0
                elif not due:
                    due = now + CHORE_SECONDS
                elif now >= due:
                    due = 0.0
                    self._carefully(chore)
                    continue
                for fd, _ in poll.poll(1000 * (due - now) if due else None):
                    if fd == self._wake:
                        os.eventfd_read(self._wake)
                        self._run_errands()
                    elif fd == self._signals:
                        self._run_signals()
                    elif fd == table.fileno():
                        self._carefully(self._watch)
                    else:
                        self._carefully(self._serve_client)

    def _run_errands(self) -> None:
        while True:
            try:
                errand = self._errands.get_nowait()
            except Empty:
                return
            self._carefully(errand)

    def _run_signals(self) -> None:
        assert self._on_signal is not None
        for number in os.read(self._signals, 1024):
            self._carefully(partial(self._on_signal, number))

    def _carefully(self, action: Callable[[], None] | None) -> None:
        """Run something; a failure is reported and ends neither the thread nor the mount."""
        try:
            if action is not None:
                action()
        except Exception as error:
            logs.warn(f"mount control: {type(error).__name__}: {error}")

    def _serve_client(self) -> None:
        import json  # noqa: PLC0415  a third of what it takes to start: whoever asks first waits for it

        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(_CLIENT_PATIENCE)
            line = receive_line(connection)
            if not line.endswith(b"\n"):
                return  # a client that went away
            try:
                request: Message = json.loads(line)
                answer = {"ok": True, **self._operations[str(request["op"])](request)}
            except Exception as error:
                logs.warn(f"mount control: {type(error).__name__}: {error}")
                answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            connection.sendall(json.dumps(answer).encode() + b"\n")
