"""`verglas cat`: the contents of a file in the store, without a mount."""

from __future__ import annotations

from storefs.errors import UsageError
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command("verglas cat", "Print the contents of a file in the store", operands="PATH")


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.adding import write_out
    from storefs.commands.operations.reading import contents
    from storefs.stores.open import open_store

    if len(invocation.operands) != 1:
        raise UsageError("one path is wanted")
    store = open_store(invocation.config)
    try:
        write_out(contents(store, invocation.operands[0]))
    finally:
        store.close()
    return 0
