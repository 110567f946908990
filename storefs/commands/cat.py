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
    from storefs.stores.any_store import open_any_store
    from storefs.stores.nar_store import NarStore

    if len(invocation.operands) != 1:
        raise UsageError("one path is wanted")
    store = open_any_store(invocation.config)
    try:
        if isinstance(store, NarStore):
            from storefs.commands.operations.nar_index import entry_contents, local_nar_cache, open_object

            cache_dir = local_nar_cache(invocation.config.store_uri)
            file, entry, shown = open_object(store, invocation.operands[0], cache_dir)
            with file:
                write_out(entry_contents(file, entry, shown))
            return 0
        write_out(contents(store, invocation.operands[0]))
    finally:
        store.close()
    return 0
