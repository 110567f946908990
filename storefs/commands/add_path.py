"""`verglas add-path`: add a file or directory, named by the hash of its NAR."""

from __future__ import annotations

import sys

from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas add-path",
    "Add a file or directory, named by the hash of its NAR",
    operands="PATH...",
    options=(
        Option("--name", "-n", takes=("NAME",), help="the name in the store instead of the file's own"),
        Option("--dry-run", help="only print where it would go"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.adding import add_named

    if not invocation.operands:
        raise UsageError("say what to add")
    name = invocation.value("--name")
    if name is not None and len(invocation.operands) > 1:
        raise UsageError("--name is for one path")
    for source in invocation.operands:
        path = add_named(invocation.config, source, name, recursive=True, dry_run=invocation.flag("--dry-run"))
        sys.stdout.write(path + "\n")
    return 0
