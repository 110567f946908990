"""Which store a configuration means: the one place in storefs that chooses an implementation.

For the commands, the builder's and the evaluator's `open`; what it returns is passed on as an argument.
"""

from __future__ import annotations

import os

from storefs.errors import UsageError
from storefs.formats.store_path import StoreDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config
    from storefs.stores.local import LocalStore
    from storefs.stores.remote import RemoteStore


def open_store(config: Config) -> LocalStore | RemoteStore:
    """Open the store that ``--store``, NIX_REMOTE or nix.conf ask for; pair with its ``close``.

    'auto' is the local store if its state directory is ours to write or does not exist, else the daemon if there is
    one, as in Nix.  Raises UsageError for a URI that is no store to work in, and what opening raises.
    """
    uri = config.store_uri or "auto"
    if uri == "local" or (uri == "auto" and not _prefers_daemon(config)):
        return open_local_store(config)
    return open_remote_store(config)


def open_remote_store(config: Config) -> RemoteStore:
    """The same where the store is a daemon's."""
    uri = config.store_uri or "auto"
    if uri in ("auto", "daemon") or uri.startswith("unix://"):
        return open_daemon(config)
    if uri.startswith("ssh-ng://"):
        return _open_remote(config, uri)
    raise UsageError(
        f"can't work in the store '{uri}'; name a directory, 'local', 'daemon', 'unix://PATH' or 'ssh-ng://HOST'"
    )


def _open_remote(config: Config, uri: str) -> RemoteStore:
    """The store behind the daemon of another machine; `remote-program` and `remote-store` are as in Nix.

    That machine's own settings hold: how many processors it has and which caches it can reach is not known here.
    """
    from storefs.stores.remote import RemoteStore  # noqa: PLC0415
    from storefs.stores.remote_connection import ShownLines  # noqa: PLC0415
    from storefs.stores.ssh import SshMaster  # noqa: PLC0415

    master = SshMaster(config, uri)
    program = [master.parameters.get("remote-program", "nix-daemon"), "--stdio"]
    if "remote-store" in master.parameters:
        program += ["--store", master.parameters["remote-store"]]
    return RemoteStore(master.uri, StoreDir(config.store_dir), lambda: master.connect(program), events=ShownLines())


def open_local_store(config: Config, *, collecting: bool = False) -> LocalStore:
    """Open the local store, whatever else the configuration asks for; ``collecting`` leaves the reserve alone."""
    from storefs.stores.local import LocalStore  # noqa: PLC0415  who asks a daemon must not pay for LMDB

    return LocalStore(config, collecting=collecting)


def open_daemon(config: Config) -> RemoteStore:
    """The store behind the daemon's socket, with the user's settings; connects when it is first asked something."""
    from storefs.stores.client_options import client_options  # noqa: PLC0415  as the next one
    from storefs.stores.remote import RemoteStore  # noqa: PLC0415  a local query must not pay for it
    from storefs.stores.remote_connection import ShownLines, connect_unix  # noqa: PLC0415

    uri, path = "daemon", socket_path(config)
    if config.store_uri.startswith("unix://"):
        uri, path = config.store_uri, config.store_uri.removeprefix("unix://")
    options = client_options(config)
    return RemoteStore(uri, StoreDir(config.store_dir), lambda: connect_unix(path), options, ShownLines())


def socket_path(config: Config) -> str:
    """Where the daemon listens."""
    return config.variable("NIX_DAEMON_SOCKET_PATH") or f"{config.state_dir}/daemon-socket/socket"


def _prefers_daemon(config: Config) -> bool:
    if config.root or os.access(config.state_dir, os.R_OK | os.W_OK) or not os.path.exists(config.state_dir):
        return False
    return os.path.exists(socket_path(config))
