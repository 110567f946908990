"""`verglas delete`: remove single paths."""

from __future__ import annotations

from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas delete",
    "Remove paths from the store if nothing needs them",
    operands="PATH...",
    options=(Option("--ignore-liveness", help="whatever the roots say"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations import collecting
    from storefs.commands.operations.operands import to_store_path
    from storefs.formats.store_path import StoreDir

    if not invocation.operands:
        raise UsageError("say which paths to delete; 'verglas gc' removes all that nothing needs")
    directory = StoreDir(invocation.config.store_dir)
    paths = [to_store_path(directory, operand) for operand in invocation.operands]
    return collecting.delete_paths(invocation.config, paths, ignore_liveness=invocation.flag("--ignore-liveness"))
