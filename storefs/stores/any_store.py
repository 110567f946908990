"""Any store that `--store` can name, also those that only keep whole NARs: for commands that only read and add.

`open.open_store` opens what builds and collections can work in; this opens binary caches and other machines too.
"""

from __future__ import annotations

from storefs.stores.open import open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config
    from storefs.stores.local import LocalStore
    from storefs.stores.nar_store import NarStore
    from storefs.stores.remote import RemoteStore

    AnyStore = LocalStore | RemoteStore | NarStore


def open_any_store(config: Config) -> AnyStore:
    """Open the store that a configuration means; pair with its ``close``.

    Raises:
        StoreError: there is none of this name, or it can't be reached.
    """
    uri = config.store_uri
    scheme, separator, _ = uri.partition(":/")
    if not separator or scheme in {"unix", "local"}:
        return open_store(config)
    from storefs.stores.cache_uri import Caches, is_cache_uri  # noqa: PLC0415  most commands have a store of their own
    from storefs.stores.nar_store import CachePlace, NarStore, ServePlace  # noqa: PLC0415

    if is_cache_uri(uri):
        from storefs.stores.copy_between import open_writer  # noqa: PLC0415

        caches = Caches(config)
        return NarStore(CachePlace(caches.open_cache(uri), lambda: open_writer(caches, config, uri), caches.close))
    if scheme == "ssh":
        from storefs.formats.store_path import StoreDir  # noqa: PLC0415
        from storefs.stores.ssh_copy import open_ssh  # noqa: PLC0415

        return NarStore(ServePlace(open_ssh(config, uri, StoreDir(config.store_dir), write=True)))
    return open_store(config)
