"""`verglas copy-log` and `nix store copy-log`: logs of builds from one store or binary cache to another."""

from __future__ import annotations

from storefs.errors import StoreError, UsageError
from storefs.installable_options import INSTALLABLES
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.config import Config
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation

COMMAND = Command(
    "verglas copy-log",
    "Copy the logs of builds between stores and binary caches",
    operands="PATH... | -f FILE [ATTRIBUTE...]",
    installables=True,
    options=(
        Option("--from", takes=("URI",), help="where from: a binary cache or a store; by default this store"),
        Option("--to", takes=("URI",), help="where to: a binary cache or a store; by default this store"),
        *INSTALLABLES,
    ),
    description="""
PATH is a derivation, or something that it made. `nix copy` copies no logs; `verglas push` does.
""",
    examples=(
        ("verglas copy-log --to file:///srv/cache ./result", "keep the log of a build beside its output"),
        ("verglas copy-log --from https://cache.example.org /nix/store/...-hello.drv", "fetch one"),
    ),
)


def run(invocation: Invocation) -> int:
    """Copy."""
    from contextlib import closing

    from builder.commands.operations.logs import derivations, find_log, keeps_logs
    from storefs.commands.operations.operands import to_store_path
    from storefs.config import load_config
    from storefs.stores.any_store import open_any_store

    config = invocation.config
    source, target = invocation.value("--from"), invocation.value("--to")
    if source is None and target is None:
        raise UsageError("say where to copy from or to, with '--from' or '--to'")
    if not invocation.operands:
        raise UsageError("name the derivations whose logs are to be copied, or what they made")

    def configured(uri: str | None) -> Config:
        return config if uri is None else load_config(config.environment(), invocation.settings, store_uri=uri)

    origin, destination = configured(source), configured(target)
    if not keeps_logs(origin.store_uri):
        raise UsageError(f"retrieving build logs is not supported by store '{origin.store_uri}'")
    found: dict[StorePath, Iterable[bytes]] = {}
    with closing(open_any_store(origin)) as store:
        for operand in invocation.operands:
            path = to_store_path(store.directory, operand)
            for drv_path in derivations(store, path) or [path]:
                log = find_log(origin, origin.store_uri, [drv_path])
                if log is None:
                    raise StoreError(f"build log for '{store.directory.print(drv_path)}' is not available")
                found[drv_path] = log
    for drv_path, log in found.items():
        _add(destination, drv_path, log)
    return 0


def _add(config: Config, drv_path: StorePath, log: Iterable[bytes]) -> None:
    from contextlib import closing

    from builder.build_log import save_build_log
    from storefs.stores.cache_uri import Caches, is_cache_uri
    from storefs.stores.copy_between import open_writer
    from storefs.stores.open import open_store
    from storefs.stores.remote import RemoteStore

    if is_cache_uri(config.store_uri):
        with Caches(config) as caches:
            open_writer(caches, config, config.store_uri).add_log(drv_path.base_name, b"".join(log))
        return
    with closing(open_store(config)) as store:
        if isinstance(store, RemoteStore):
            store.add_build_log(drv_path, log)
        else:
            save_build_log(config, drv_path, log)
