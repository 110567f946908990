"""Another store as something to substitute from: a second local store, the daemon of a chroot store. Blocking."""

from __future__ import annotations

from contextlib import contextmanager

from storefs.api import Offer
from storefs.formats.narinfo import NarInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from storefs.api import Store
    from storefs.formats.store_path import StorePath
    from storefs.http_client.client import HttpClient
    from storefs.http_client.messages import Exchange


class StoreSource:
    """One other store with the same logical directory.

    Args:
        store: asked and read, never changed.
        uri: its name in messages.
        trusted: believe it without signatures; paths that it built itself carry none.
        priority: lower is asked first.
    """

    want_mass_query = True

    def __init__(self, store: Store, uri: str, *, trusted: bool = False, priority: int = 0) -> None:
        self._store = store
        self.uri = uri
        self.is_trusted = trusted
        self.priority = priority

    def is_usable(self) -> bool:
        """See `offer_query.Source`."""
        return True

    def known(self, path: StorePath) -> NarInfo | bool | None:
        """See `offer_query.Source`; asking is cheap, so nothing is remembered."""
        info = self._store.find_path_info(path)
        return None if info is None else NarInfo(info, path.base_name, "none", None, 0)

    def ask(self, path: StorePath) -> NarInfo | bool:
        """See `offer_query.Source`."""
        return self.known(path) or False

    def exchange(self, path: StorePath) -> Exchange | None:
        """See `offer_query.Source`."""
        del path
        return None

    def client(self) -> HttpClient | None:
        """See `offer_query.Source`."""
        return None

    def take(self, path: StorePath, exchange: Exchange) -> NarInfo | bool:
        """See `offer_query.Source`."""
        raise AssertionError((path, exchange))

    def save(self) -> None:
        """See `offer_query.Source`."""

    def forget(self, path: StorePath) -> None:
        """See `offer_query.Source`."""

    def prefetch(self, narinfos: Sequence[NarInfo]) -> None:
        """See `offer_query.Source`; there is nothing to gain."""

    @contextmanager
    def open_nar(self, narinfo: NarInfo) -> Iterator[Iterator[bytes]]:
        """See `offer_query.Source`."""
        yield iter(self._store.nar(narinfo.info.path))

    def offers(self, paths: Collection[StorePath]) -> dict[StorePath, Offer]:
        """What it has of `paths`."""
        infos = ((path, self._store.find_path_info(path)) for path in paths)
        return {path: Offer(info, 0) for path, info in infos if info is not None}

    def nar(self, offer: Offer) -> Iterator[bytes]:
        """The NAR of an offered path."""
        return iter(self._store.nar(offer.info.path))
