"""What every substituter answers that is asked directly, without requests that could wait side by side."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from storefs.formats.narinfo import NarInfo
    from storefs.formats.realisation import DrvOutput, Realisation
    from storefs.formats.store_path import StorePath
    from storefs.http_client.client import HttpClient
    from storefs.http_client.messages import Exchange


class DirectSource:
    """The part of `offer_query.Source` that is about HTTP and remembered answers: there are none."""

    want_mass_query = True

    def is_usable(self) -> bool:
        """See `offer_query.Source`."""
        return True

    def is_resting(self) -> bool:
        """See `offer_query.Source`."""
        return False

    def known(self, path: StorePath) -> NarInfo | bool | None:
        """See `offer_query.Source`; for subclasses to answer."""
        raise NotImplementedError

    def ask(self, path: StorePath) -> NarInfo | bool:
        """See `offer_query.Source`."""
        return self.known(path) or False

    def realisation(self, output: DrvOutput) -> Realisation | None:
        """See `offer_query.Source`; many can't tell."""
        del output
        return None

    def exchange(self, path: StorePath) -> Exchange | None:
        """See `offer_query.Source`."""
        del path
        return None

    def client(self) -> HttpClient | None:
        """See `offer_query.Source`."""
        return None

    def take(self, path: StorePath, exchange: Exchange) -> NarInfo | bool:
        """See `offer_query.Source`; never called, there are no requests to answer."""
        raise AssertionError((path, exchange))

    def save(self) -> None:
        """See `offer_query.Source`."""

    def forget(self, path: StorePath) -> None:
        """See `offer_query.Source`."""

    def prefetch(self, narinfos: Sequence[NarInfo]) -> None:
        """See `offer_query.Source`; there is nothing to gain."""
