"""Another store as something to substitute from: a second local store, the daemon of a chroot store. Blocking."""

from __future__ import annotations

from contextlib import contextmanager

from storefs.api import Offer
from storefs.formats.narinfo import NarInfo
from storefs.stores.direct_source import DirectSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from storefs.api import Store
    from storefs.formats.realisation import DrvOutput, Realisation
    from storefs.formats.store_path import StorePath


class StoreSource(DirectSource):
    """One other store with the same logical directory.

    Args:
        store: asked and read, never changed.
        uri: its name in messages.
        trusted: believe it without signatures; paths that it built itself carry none.
        priority: lower is asked first.
    """

    def __init__(self, store: Store, uri: str, *, trusted: bool = False, priority: int = 0) -> None:
        self._store = store
        self.uri = uri
        self.is_trusted = trusted
        self.priority = priority

    def known(self, path: StorePath) -> NarInfo | bool | None:
        """See `offer_query.Source`; asking is cheap, so nothing is remembered."""
        info = self._store.find_path_info(path)
        if info is None:
            return None
        # That it was built is known of the store that built it only, and when it came is that of the one it comes to.
        return NarInfo(info.replace(ultimate=False, registration_time=0), path.base_name, "none", None, 0)

    def realisation(self, output: DrvOutput) -> Realisation | None:
        """See `offer_query.Source`."""
        return self._store.realisation(output)

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
