"""`verglas repair`: fetch or rebuild the contents of damaged paths."""

from __future__ import annotations

from storefs.errors import UsageError
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas repair",
    "Mend damaged paths by fetching or rebuilding them",
    operands="PATH...",
    description="""
The old contents are replaced by one commit: whoever reads the path meanwhile sees the old bytes or the new ones, and
never an error.
""",
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from builder.commands.operations.realising import repairer
    from storefs.commands.operations.operands import to_store_path
    from storefs.stores.open import open_store

    if not invocation.operands:
        raise UsageError("say which paths to repair; 'verglas verify' finds them")
    store = open_store(invocation.config)
    try:
        repair = repairer(invocation, store)
        for operand in invocation.operands:
            repair(to_store_path(store.directory, operand))
    finally:
        store.close()
    return 0
