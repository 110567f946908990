"""`verglas ping`: whether the store can be used."""

from __future__ import annotations

import sys

from storefs.cli import NIX_VERSION
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command("verglas ping", "Test whether the store can be used")


def run(invocation: Invocation) -> int:
    """Carry out the command; a store that can't be opened is reported as every failure is."""
    from storefs.formats.store_path import StorePath
    from storefs.stores.any_store import open_any_store

    store = open_any_store(invocation.config)
    try:
        store.is_valid(StorePath("0" * 32 + "-x"))  # a daemon is connected to when it is first asked
        # To `nix` it is a remark, not a result.
        stream = sys.stderr if invocation.program == "nix" else sys.stdout
        stream.write(f"Store URL: {store.uri}\nVersion: {NIX_VERSION}\n")
    finally:
        store.close()
    return 0
