"""Leaving the caller behind once the work can be done: a process that goes to the background when it is ready.

The parent waits for one line through a pipe: ready, or why not. So a command line that says it mounted has mounted, and
a failure is shown where the user is, not in a log.
"""

from __future__ import annotations

import os
import sys

from storefs import logs
from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_READY = b"ready\n"


class BackgroundStartError(StoreError):
    """The process that went to the background could not do its work. The text is its own."""


def run_in_background(work: Callable[[Callable[[], None]], int], log_path: str) -> None:
    """Run `work` in a new process, detached from this one, and return once it has called its argument.

    Blocks until then. The caller must not have threads, nor an open database: neither survives a fork.

    Args:
        work: given a function to call when ready; returns the exit status of the process.
        log_path: host path of a file to which the process's messages are appended.

    Raises:
        BackgroundStartError: `work` failed before it was ready.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(reader)
        _become_background(work, writer, log_path)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    if answer != _READY:
        raise BackgroundStartError(answer.decode(errors="replace").strip() or f"the process died; see '{log_path}'")


def _become_background(work: Callable[[Callable[[], None]], int], writer: int, log_path: str) -> NoReturn:
    status = 1
    try:
        os.setsid()
        if os.fork():
            os._exit(0)  # child; its parent need not collect the one that stays
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        for number, fd in ((0, null), (1, log), (2, log)):
            os.dup2(fd, number)

        def ready() -> None:
            os.write(writer, _READY)
            os.close(writer)

        try:
            status = work(ready)
        except StoreError as error:
            logs.error(str(error))
            _tell(writer, str(error))
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            _tell(writer, f"internal error, please report it: {type(error).__name__}: {error} (see '{log_path}')")
    finally:
        os._exit(status)  # child


def _tell(writer: int, text: str) -> None:
    try:
        os.write(writer, text.encode())
    except OSError:
        pass  # it was ready before, nobody listens any more
