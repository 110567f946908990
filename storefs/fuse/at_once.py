"""What answers pyfuse3 at once: an awaitable that is done, the wait for a request, and look-ups without an object made.

Compiled (MODULES in setup.py), for `synchronous.py` and `operations.py`: what a request costs beside the kernel and
pyfuse3 is paid here. What has no types here has them in the .pxd. Knows no pyfuse3; what it fills is handed over.
"""

# mypy: ignore-errors
# ruff: noqa: F821  both for the C types of the .pxd
from __future__ import annotations

import errno
import os
import select
import struct

import cython

from storefs.metadata.trees import ENTRY_HEAD, LONGEST_NAME, CorruptTreeError

if cython.compiled:
    from cython.cimports.cpython.exc import PyErr_CheckSignals, PyErr_SetObject
    from cython.cimports.libc.errno import errno as last_error
    from cython.cimports.libc.string import memcpy
    from cython.cimports.storefs.metadata.entry_search import RecentDirectories, search
else:
    from storefs.metadata.entry_search import search

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from typing import Any, NoReturn

    from storefs.metadata.entry_search import RecentDirectories

ATTRIBUTES = struct.Struct("<3Q36xI")  # inode, size, blocks, ..., mode: the front of a fuse_attr


@cython.final
@cython.cclass
class Answer:
    """An awaitable that is done. One is used again and again: what awaits an answer takes it at once.

    Attributes:
        value: what it gives; anything but a tuple or an exception.
    """

    def __init__(self, value: object = None) -> None:
        self.value = value

    def give(self, value: object) -> Answer:
        """Become the answer `value`."""
        self.value = value
        return self

    def __await__(self) -> Generator[None, None, Any]:
        return self

    def __next__(self) -> NoReturn:
        raise StopIteration(self.value)


def _hand_over(answer):
    """Answer's __next__ without an exception object and its traceback, a tenth of a microsecond each; compiled only."""
    if cython.compiled:
        PyErr_SetObject(StopIteration, cython.cast(Answer, answer).value)
    return cython.NULL


if cython.compiled:
    cython.cast(TypeSlots_p, Answer).tp_iternext = _hand_over


@cython.final
@cython.cclass
class Readiness:
    """Waits until a descriptor can be read."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.answer = Answer(True)

    def wait(self) -> Awaitable[bool]:
        """Block until there is something to read, or nothing will ever be; return an awaitable of True.

        Raises what a signal's handler raises.
        """
        if cython.compiled:
            waiting: pollfd
            ready: cython.int
            code: cython.int
            waiting.fd, waiting.events = self.fd, POLLIN
            while True:
                PyErr_CheckSignals()  # no instruction of Python may come in between for hours
                with cython.nogil:
                    ready = poll(cython.address(waiting), 1, -1)
                    code = last_error
                if ready > 0:
                    break
                if code != errno.EINTR:
                    raise OSError(code, os.strerror(code))
        else:
            select.select([self.fd], [], [])
        return self.answer


@cython.final
@cython.cclass
class LookUps:
    """pyfuse3's handler of look-ups: in the copies of directories, otherwise somewhere else.

    Args:
        recent: names in these directories are looked up here.
        elsewhere: the handler that can look up everything.
        answer: given the result.
        entry: the EntryAttributes of what was found, changed each time.
        negative: those that say that there is no such name.

    Attributes:
        found: how many look-ups were answered here.
    """

    def __init__(
        self,
        recent: RecentDirectories,
        elsewhere: Callable[..., Awaitable[object]],
        answer: Answer,
        entry: object,
        negative: object,
    ) -> None:
        self.recent = recent
        self.elsewhere = elsewhere
        self.answer = answer
        self.entry = entry
        self.negative = negative
        self.found = 0

    def lookup(self, parent: int, name: bytes, ctx: object = None) -> Awaitable[object]:
        """Find a name in a directory; see `Operations.lookup`."""
        if cython.compiled:
            found: Attributes
            data: cython.p_uchar
        at: cython.Py_ssize_t
        record: bytes = self.recent.get(parent)
        length: cython.Py_ssize_t = len(name)
        if record is None or not 0 < length <= LONGEST_NAME:
            return self.elsewhere(parent, name, ctx)
        try:
            if cython.compiled:
                data = cython.cast(cython.p_uchar, record)
                at = search(data, len(record), cython.cast(cython.p_uchar, name), length)
            else:
                at = search(record, len(record), name, length)
        except CorruptTreeError:
            return self.elsewhere(parent, name, ctx)  # where mistakes are told
        self.found += 1
        answer: Answer = self.answer
        if at < 0:
            answer.value = self.negative
            return answer
        entry = self.entry
        if cython.compiled:
            memcpy(cython.address(found), data + at + ENTRY_HEAD, cython.sizeof(Attributes))
            entry.st_ino, entry.st_size = found.inode, found.size
            entry.st_blocks, entry.st_mode = found.blocks, found.mode
        else:
            entry.st_ino, entry.st_size, entry.st_blocks, entry.st_mode = ATTRIBUTES.unpack_from(
                record, at + ENTRY_HEAD
            )
        answer.value = entry
        return answer
