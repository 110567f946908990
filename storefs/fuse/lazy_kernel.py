"""Transport `kernel` for a lazy mount: requests whose answers must be fetched first are set aside, the rest goes on.

Everything about the protocol is in `kernel.py`, everything about waiting in `waiting.py`; here they meet.
"""

from __future__ import annotations

import errno
import struct

from storefs.fuse import kernel_wire as wire
from storefs.fuse.kernel import KernelServer
from storefs.fuse.view import NotHereYetError
from storefs.fuse.waiting import WaitingRoom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.fuse.view import Inode, View

_LENGTH = struct.Struct("<I")  # the front of a fuse_in_header
_INTERRUPTED = struct.Struct("<Q")  # fuse_interrupt_in: whose request is interrupted


class LazyKernelServer(KernelServer):
    """One connection; see `KernelServer`.

    Args:
        make_view: makes another view of the same store, for another thread.
    """

    def __init__(
        self, fd: int, view: View, report: Callable[[str, Inode | None], None], make_view: Callable[[], View]
    ) -> None:
        super().__init__(fd, view, report, passthrough=False)
        self._handlers[wire.INTERRUPT] = self._interrupt
        self._room = WaitingRoom(lambda: _KeptRequests(fd, make_view(), report))
        self._refuser = _KeptRequests(fd, view, report)

    def serve(self, ready: Callable[[], None] | None = None) -> None:
        """Answer requests until the file system is unmounted everywhere; see `KernelServer`."""
        try:
            super().serve(ready)
        finally:
            self._room.close()

    def _failed(self, opcode: int, unique: int, node: int, error: Exception) -> None:
        if isinstance(error, NotHereYetError):
            (length,) = _LENGTH.unpack_from(self._request)
            self._room.admit(unique, bytes(self._request[:length]), error.wait)
        else:
            super()._failed(opcode, unique, node, error)

    def _interrupt(self, unique: int, node: int, length: int) -> None:
        (interrupted,) = _INTERRUPTED.unpack_from(self._request, wire.REQUEST_SIZE)
        self._room.interrupt(interrupted, self._refuser)


class _KeptRequests(KernelServer):
    """Answers requests that were kept, in one thread of the waiting room. See `waiting.Answerer`."""

    def __init__(self, fd: int, view: View, report: Callable[[str, Inode | None], None]) -> None:
        super().__init__(fd, view, report, passthrough=False)

    def answer(self, request: bytes) -> None:
        self._request[: len(request)] = request
        length, opcode, unique, node = wire.REQUEST_HEADER.unpack_from(request)
        try:
            self._handlers[opcode](unique, node, length)
        except NotHereYetError:
            raise
        except Exception as error:  # whatever it was: a reader without an answer hangs for ever
            self._failed(opcode, unique, node, error)
        finally:
            self._view.release()

    def refuse(self, request: bytes, error: Exception | None) -> None:
        _, opcode, unique, node = wire.REQUEST_HEADER.unpack_from(request)
        if error is None:
            self._send_error(unique, errno.EINTR)
        else:
            self._failed(opcode, unique, node, error)
