"""`verglas nar ls`: what is inside a NAR file."""

from __future__ import annotations

import sys

from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas nar ls",
    "List what is inside a NAR file",
    operands="NAR [PATH]",
    options=(
        Option("--recursive", "-R", help="list subdirectories too"),
        Option("--long", "-l", help="show modes, sizes and targets"),
        Option("--directory", "-d", help="show the directory itself, too"),
        Option("--json", help="print an object"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.nar_index import describe_entry, find_entry, list_entry, read_index

    if not 1 <= len(invocation.operands) <= 2:
        raise UsageError("a NAR file is wanted, and perhaps a path in it")
    file, *rest = invocation.operands
    path = rest[0] if rest else ""
    entry = find_entry(read_index(file), path)
    recursive = invocation.flag("--recursive")
    if invocation.flag("--json"):
        from storefs.commands.operations.json_output import print_json

        print_json(invocation, describe_entry(entry, recursive=recursive))
        return 0
    shown = "." if entry.kind == "directory" else path.rstrip("/").rpartition("/")[2]
    options = {"long": invocation.flag("--long"), "directory": invocation.flag("--directory")}
    for line in list_entry(entry, shown, recursive=recursive, **options):
        sys.stdout.write(line + "\n")
    return 0
