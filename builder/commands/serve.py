"""`verglas serve`: offer the local store to others as a binary cache."""

from __future__ import annotations

from storefs.errors import UsageError
from storefs.logs import info
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.config import Config
    from storefs.options import Invocation

_LAST_PORT = 65535

COMMAND = Command(
    "verglas serve",
    "Offer the local store to others as a binary cache",
    options=(
        Option("--listen", takes=("HOST:PORT",), help="where to listen (default 127.0.0.1:8080; port 0: any)"),
        Option("--sign-with", takes=("FILE",), help="sign with this secret key; may be repeated"),
        Option("--compression", takes=("METHOD",), help="none (the default), zstd, xz, bzip2, gzip or br"),
        Option("--priority", takes=("NUMBER",), help="announced to clients; lower is asked first (default 30)"),
    ),
    description="""
Whoever can reach the address and knows a path's hash can fetch it, with everything it refers to, and its build log.
Nothing can be listed or changed. Keys of the setting `secret-key-files` sign too.

It speaks plain HTTP and is meant for a trusted network, or for a proxy in front of it that speaks TLS. What is
registered while it runs is offered at once.
""",
    examples=(
        ("verglas serve --listen 0.0.0.0:8080 --sign-with /etc/cache.key", "share builds in the local network"),
        ("nix-store -r PATH --option substituters http://that-host:8080", "use it, with real Nix or with ours"),
    ),
)


def run(invocation: Invocation) -> int:
    """Serve until interrupted."""
    import signal
    from contextlib import closing

    from storefs.daemon.cache_server import CacheContents, CacheServer
    from storefs.stores.cache_writer import read_secret_key
    from storefs.stores.open import open_store

    config = invocation.config
    host, colon, port = (invocation.value("--listen") or "127.0.0.1:8080").rpartition(":")
    priority = invocation.value("--priority") or "30"
    if not colon or not port.isdigit() or int(port) > _LAST_PORT or not priority.isdigit():
        raise UsageError("verglas serve --listen takes HOST:PORT, and --priority a number")
    keys = [read_secret_key(path) for path in (*config.words("secret-key-files"), *invocation.values("--sign-with"))]
    with closing(open_store(config)) as store:
        contents = CacheContents(
            store, keys, invocation.value("--compression") or "none", int(priority), lambda name: _log(config, name)
        )
        server = CacheServer(contents, host.strip("[]"), int(port))
        signal.signal(signal.SIGTERM, lambda *_: server.close())
        info(f"serving '{store.directory.path}' on http://{host}:{server.port}")
        try:
            server.serve()
        except KeyboardInterrupt:
            server.close()
    return 0


def _log(config: Config, name: str) -> Iterable[bytes] | None:
    from builder.build_log import find_build_log, read_build_log
    from storefs.formats.store_path import StorePath

    path = find_build_log(config, StorePath(name))
    return None if path is None else read_build_log(path)
