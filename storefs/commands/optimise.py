"""`verglas optimise`: what sharing equal files saves."""

from __future__ import annotations

from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas optimise",
    "Say what sharing equal files saves",
    description="""
Equal files share their bytes from the moment they are added, so there is nothing to do; left-over contents that no
path names are removed.
""",
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations import verifying
    from storefs.stores.open import open_store

    store = open_store(invocation.config)
    try:
        return verifying.optimise(store)
    finally:
        store.close()
