"""Builds on other machines (placeholder for the interface while the rest is written)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from builder.cancellation import Cancellation
    from builder.derivation_builder import Request
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StorePath
else:
    Protocol = object


class RemoteSlot(Protocol):
    """A place on another machine."""

    def build(self, request: Request, cancellation: Cancellation) -> object:
        """Build there and bring the outputs back."""


class RemoteMachines(Protocol):
    """Other machines."""

    def reserve(self, path: StorePath, derivation: Derivation, *, local_possible: bool) -> RemoteSlot | None:
        """Find a place."""
