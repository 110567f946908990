"""One client of the daemon, from the handshake to the end of its stream.

An error while an operation runs is the operation's result, and the session goes on. An error while a request is still
being read leaves the stream in an unknown place: it is told to the client, and then the session ends (row D2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storefs import logs
from storefs.cli import NIX_VERSION
from storefs.daemon.additions import ADDITIONS
from storefs.daemon.questions import QUESTIONS
from storefs.daemon.request import Request
from storefs.daemon.tunnel import Tunnel
from storefs.daemon.work import WORK
from storefs.errors import StoreError
from storefs.protocol.connection import accept_client
from storefs.protocol.wire import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.daemon.peer import Peer
    from storefs.daemon.service import Service
    from storefs.protocol.wire import Reader

_OPERATIONS = {**QUESTIONS, **ADDITIONS, **WORK}


def serve_client(
    reader: Reader, send: Callable[[bytes], object], service: Service, peer: Peer, *, hangup_fd: int
) -> int:
    """Serve one client until its stream ends, and return how many operations it asked for.

    Args:
        reader: what comes from the client.
        send: sends bytes to it.
        service: what is served.
        peer: who it is.
        hangup_fd: a descriptor that tells when the client goes away during a build.

    Raises:
        StoreError: the client's input could not be understood; it has been told so if it was there to listen.
    """
    version = accept_client(reader, send, nix_version=NIX_VERSION, trusted=peer.trusted)
    tunnel = Tunnel(reader, send, version)
    tunnel.start_work()
    tunnel.stop_work()
    tunnel.flush()
    # What the store says while it works is for the client whose work it is; this process has no other.
    emit, logs.sink.emit = logs.sink.emit, lambda line: tunnel.line(logs.ERROR, line)
    try:
        return _serve(Request(reader, tunnel, service, peer, version, hangup_fd))
    finally:
        logs.sink.emit = emit


def _serve(request: Request) -> int:
    reader, tunnel = request.reader, request.tunnel
    count = 0
    while not reader.at_end():
        number = reader.number()
        count += 1
        operation = _OPERATIONS.get(number)
        try:
            if operation is None:
                raise ProtocolError(f"invalid operation {number}")
            operation(request)
        except StoreError as error:
            in_request = not tunnel.working
            tunnel.fail(str(error), error.exit_code)
            if in_request:
                raise
        except OSError as error:
            # Our own files or the disk; a client that is gone makes the answer fail the same way, which ends the loop.
            in_request = not tunnel.working
            tunnel.fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
            if in_request:
                raise
        tunnel.flush()
    return count
