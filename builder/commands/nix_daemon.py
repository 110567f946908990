"""`nix-daemon`: serve the store to other users, and to other machines through ssh.

Everything is imported at the start, before the first client: their processes are forked from this one and share it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from builder.daemon_service import BuildingService
from storefs.daemon.listener import open_listener, serve_forever
from storefs.daemon.peer import Peer
from storefs.daemon.session import serve_client
from storefs.daemon.user_directories import make_user_directories
from storefs.options import Command, Option
from storefs.protocol.wire import Reader
from storefs.stores.local import LocalStore
from storefs.stores.mountpoint import ensure_mounted
from storefs.stores.open import socket_path

if TYPE_CHECKING:
    import socket

    from storefs.config import Config
    from storefs.options import Invocation

_RECEIVE = 256 << 10  # bytes: as much as the kernel holds for a socket

COMMAND = Command(
    "nix-daemon",
    "Perform store operations and builds on behalf of other users",
    options=(
        Option("--daemon", help="accepted for compatibility", hidden=True),
        Option("--stdio", help="serve one client on standard input and output, as ssh-ng:// stores want it"),
        Option("--force-trusted", help="with --stdio: trust the client", hidden=True),
        Option("--process-ops", help="accepted for compatibility", hidden=True),
    ),
    description="""
        Listens on the socket that systemd passes (LISTEN_FDS), or on NIX_STATE_DIR/daemon-socket/socket. The settings
        trusted-users and allowed-users say who may connect. SIGTERM ends it when its clients' builds are cancelled.
    """,
    examples=(("nix-daemon", "serve until it is stopped"),),
)


def run(invocation: Invocation) -> int:
    """Serve until the end of the input or until SIGTERM."""
    config = invocation.config
    if invocation.flag("--stdio"):
        return _serve_stdio(config)

    os.chdir("/")
    # Clients look at the store themselves: what they are told about must be there to be seen.
    ensure_mounted(config)
    # Opened and closed once: a broken database is found now, and everything that opening loads is there to be shared.
    LocalStore(config).close()
    serve_forever(open_listener(config, socket_path(config)), config, lambda client, peer: _serve(config, client, peer))
    return 0


def _serve(config: Config, client: socket.socket, peer: Peer) -> None:
    chunks = iter(lambda: client.recv(_RECEIVE), b"")
    make_user_directories(config, peer.user)
    with LocalStore(config) as store:
        service = BuildingService(store, config)
        serve_client(Reader(chunks), client.sendall, service, peer, hangup_fd=client.fileno())


def _serve_stdio(config: Config) -> int:
    """Serve one client, who is trusted: limiting access to the standard streams is somebody else's duty (as in Nix)."""
    ensure_mounted(config)
    output = os.dup(1)
    os.dup2(2, 1)  # whatever prints by mistake must not get into the protocol

    def send(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(output, view) :]

    chunks = iter(lambda: os.read(0, _RECEIVE), b"")
    with LocalStore(config) as store:
        service = BuildingService(store, config)
        serve_client(Reader(chunks), send, service, Peer(0, "", trusted=True), hangup_fd=0)
    return 0
