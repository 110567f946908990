"""`verglas verify`: check that the store is whole."""

from __future__ import annotations

from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas verify",
    "Check the integrity of the store",
    operands="[PATH...]",
    options=(Option("--quick", help="only metadata, presence and sizes: do not read the contents"),),
    description="""
Reads every byte of the given paths, or of all, on all processors, and compares with the hash that was registered. The
exit status is 1 if something is wrong. Builds and collections may run meanwhile. `verglas repair PATH` mends a path.
""",
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations import verifying
    from storefs.commands.operations.operands import to_store_path
    from storefs.stores.open import open_store

    store = open_store(invocation.config)
    try:
        if invocation.operands:
            paths = [to_store_path(store.directory, operand) for operand in invocation.operands]
            return verifying.verify_paths(store, paths)
        return verifying.verify(store, check_contents=not invocation.flag("--quick"), repair=None)
    finally:
        store.close()
