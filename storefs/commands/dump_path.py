"""`verglas dump-path`: the NAR of a store path, without a mount."""

from __future__ import annotations

from storefs.errors import UsageError
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command("verglas dump-path", "Write the NAR of a store path to standard output", operands="PATH")


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.adding import write_out
    from storefs.commands.operations.operands import to_store_path
    from storefs.stores.any_store import open_any_store

    if len(invocation.operands) != 1:
        raise UsageError("one path is wanted")
    store = open_any_store(invocation.config)
    try:
        write_out(store.nar(to_store_path(store.directory, invocation.operands[0])))
    finally:
        store.close()
    return 0
