"""Our end of /dev/fuse: takes one request after the other, has each answered, and writes the answers.

Compiled (MODULES in setup.py), with the system calls made directly: what a request costs beside them is paid here. What
has no types here has them in the .pxd. Knows the headers of requests and answers, and of what is between only look-ups,
which come a thousand at a time; the rest is said in `kernel.py`, the only user.
"""

# mypy: ignore-errors
# ruff: noqa: F821  both for the C types of the .pxd
from __future__ import annotations

import errno
import os

import cython

from storefs.fuse.kernel_wire import (
    LOOKUP,
    NO_SUCH_ENTRY,
    OPCODES,
    REPLY_HEADER,
    REPLY_SIZE,
    REQUEST_HEADER,
    REQUEST_SIZE,
)
from storefs.metadata.trees import ENTRY_SIZE, LONGEST_NAME

if cython.compiled:
    from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING
    from cython.cimports.cpython.exc import PyErr_CheckSignals
    from cython.cimports.libc.errno import errno as last_error
    from cython.cimports.libc.string import memcpy
    from cython.cimports.posix.unistd import read, write
    from cython.cimports.storefs.metadata.entry_search import RecentDirectories, search
else:
    from storefs.metadata.entry_search import search

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from storefs.fuse.view import Record
    from storefs.metadata.entry_search import RecentDirectories

    Handler = Callable[[int, int, int], None]  # of unique, node, length of the request

_JOINED = 4096  # bytes: below, a copy costs less than the pages that the kernel looks up for each part of a write


@cython.final
@cython.cclass
class Device:
    """A descriptor and the request that was taken from it last. One thread takes requests; any thread answers.

    Args:
        fd: open, and kept open by the caller.
        room: bytes for a request. The kernel wants 8 KiB at least.

    Attributes:
        fd: the descriptor.
        request: as it came, header and body; only as much of it as its length says.
    """

    def __init__(self, fd: int, room: int) -> None:
        self.fd = fd
        self.room = room
        self.request = bytearray(room)
        self.pin = memoryview(self.request)  # nobody can resize it any more
        if cython.compiled:
            self.data = PyByteArray_AS_STRING(self.request)

    def serve(
        self,
        recent: RecentDirectories,
        handlers: Sequence[Handler],
        smallest: Sequence[int],
        counts: list[int],
        release: Callable[[], None],
        failed: Callable[[int, int, int, Exception], None],
    ) -> None:
        """Have requests answered until the file system is unmounted everywhere.

        Args:
            recent: look-ups in these directories are answered here.
            handlers: what answers a request of each of `OPCODES` kinds; the first one answers all others.
            smallest: the length that a request of each kind has at least.
            counts: of the requests of each kind, kept here.
            release: called after each request.
            failed: told of opcode, unique, node and of what a handler raised; what it raises itself ends this.

        Raises:
            OSError: nothing can be read any more.
        """
        taken: cython.Py_ssize_t
        opcode: cython.uint
        kind: cython.uint
        unique: cython.ulonglong
        node: cython.ulonglong
        if cython.compiled:
            header: Header
        while True:
            taken = self.take()
            if taken == 0:
                return
            if taken < REQUEST_SIZE:
                continue  # nobody can be answered
            if cython.compiled:
                memcpy(cython.address(header), self.data, cython.sizeof(Header))
                opcode, unique, node = header.opcode, header.unique, header.node
            else:
                _, opcode, unique, node = REQUEST_HEADER.unpack_from(self.request)
            kind = opcode if opcode < OPCODES else 0
            counts[kind] += 1
            try:
                if kind == LOOKUP and self.look_up(recent, unique, node, taken):
                    continue
                if taken < smallest[kind]:
                    raise ValueError(f"it is cut short at byte {taken}")
                handlers[kind](unique, node, taken)
            except Exception as error:  # whatever it was: a reader without an answer hangs for ever
                failed(opcode, unique, node, error)
            finally:
                release()

    def look_up(self, recent, unique, node, taken):
        """Answer a look-up out of the copies of directories; return whether that was done."""
        at: cython.Py_ssize_t
        record: bytes = recent.get(node)
        data: cython.p_uchar
        length: cython.Py_ssize_t = taken - REQUEST_SIZE - 1
        if record is None or not 0 < length <= LONGEST_NAME:
            return False
        if cython.compiled:
            data = cython.cast(cython.p_uchar, record)
            at = search(data, len(record), cython.cast(cython.p_uchar, self.data) + REQUEST_SIZE, length)
            if at < 0:
                data = cython.cast(cython.p_uchar, NO_SUCH_ENTRY)
                at = 0
            self.send_bytes(unique, data + at, ENTRY_SIZE)
        else:
            at = search(record, len(record), bytes(self.request[REQUEST_SIZE : taken - 1]), length)
            self.send(unique, record[at : at + ENTRY_SIZE] if at >= 0 else NO_SUCH_ENTRY)
        return True

    def take(self):
        """Wait for a request; return its length, 0 at the end of all requests."""
        taken: cython.Py_ssize_t
        code: cython.int
        while True:
            if cython.compiled:
                PyErr_CheckSignals()  # no instruction of Python may come in between for hours
                with cython.nogil:
                    taken = read(self.fd, self.data, self.room)
                    code = last_error
            else:
                try:
                    return os.readv(self.fd, [self.request])
                except OSError as error:
                    taken, code = -1, error.errno
            if taken >= 0:
                return taken
            if code == errno.ENODEV:
                return 0
            if code not in {errno.ENOENT, errno.EINTR, errno.EAGAIN}:  # the request was withdrawn before we took it
                raise OSError(code, os.strerror(code))

    def send(self, unique: int, *parts: Record) -> None:
        """Answer request `unique`, in a single write.

        Raises:
            OSError: it could not be written; ENOENT when the request was withdrawn.
        """
        length: cython.Py_ssize_t = REPLY_SIZE
        for part in parts:
            length += len(part)
        if length > _JOINED:
            os.writev(self.fd, (REPLY_HEADER.pack(length, 0, unique), *parts))
        elif cython.compiled:
            self.send_small(unique, parts)
        else:
            os.write(self.fd, b"".join((REPLY_HEADER.pack(length, 0, unique), *parts)))

    def send_error(self, unique: int, code: int) -> None:
        """Refuse request `unique` with the errno `code`; no matter whether anybody still waits for it."""
        try:
            os.write(self.fd, REPLY_HEADER.pack(REPLY_SIZE, -code, unique))
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENODEV}:
                raise

    def send_small(self, unique, parts):
        """Answer with what fits into a page; compiled code only."""
        if cython.compiled:
            out: cython.uchar[4096]  # _JOINED
            buffer: Py_buffer
            at: cython.Py_ssize_t = REPLY_SIZE
            for part in parts:
                PyObject_GetBuffer(part, cython.address(buffer), PyBUF_SIMPLE)
                if at + buffer.len <= _JOINED:
                    memcpy(out + at, buffer.buf, buffer.len)
                at += buffer.len
                PyBuffer_Release(cython.address(buffer))
            if at > _JOINED:
                raise ValueError("a part of an answer has more bytes than elements")
            self.write_reply(unique, out, at)
        return 0

    def send_bytes(self, unique, data, length):
        """Answer with a few bytes; compiled code only."""
        if cython.compiled:
            out: cython.uchar[256]
            memcpy(out + REPLY_SIZE, data, length)
            self.write_reply(unique, out, REPLY_SIZE + length)
        return 0

    def write_reply(self, unique, out, length):
        """Put a header before an answer and write both; compiled code only."""
        if cython.compiled:
            header: ReplyHeader
            header.length, header.code, header.unique = length, 0, unique
            memcpy(out, cython.address(header), REPLY_SIZE)
            while write(self.fd, out, length) < 0:
                code: cython.int = last_error  # before any call into Python, which may set another one
                if code != errno.EINTR:
                    raise OSError(code, os.strerror(code))
                PyErr_CheckSignals()
        return 0
