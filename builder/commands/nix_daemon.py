"""`nix-daemon`: serve the store to other users, and to other machines through ssh.

What requests take is imported before they come. A command imports late because it serves one; the clients' processes
are forked from this one, share what it has, and would each import anew what it has not.
"""

from __future__ import annotations

import os
from importlib import import_module
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

# Each is imported inside a function somewhere, of ours or of Python's, and imports the rest of what an operation takes.
_SHARED = (
    "builder.fetching",
    "builder.machine",
    "builder.scheduler",
    "builder.scratch",
    "encodings.ascii",
    "encodings.idna",
    "hashlib",
    "ssl",
    "storefs.gc.collector",
    "storefs.gc.temp_roots",
    "storefs.http_client.client",
    "storefs.metadata.nar_reader",
    "storefs.metadata.narinfo_cache",
    "storefs.metadata.realisation_rows",
    "storefs.metadata.tree_reader",
    "storefs.stores.cache_uri",
    "storefs.stores.direct_source",
    "storefs.stores.local_intake",
    "storefs.stores.mount_control",
    "storefs.stores.substitution",
    "storefs.stores.text_paths",
)

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
    listener = open_listener(config, socket_path(config))
    for name in _SHARED:  # a tenth of a second, in which the first clients may be waiting already
        import_module(name)
    serve_forever(listener, config, lambda client, peer: _serve(config, client, peer))
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
