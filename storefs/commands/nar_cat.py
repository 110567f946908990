"""`verglas nar cat`: a file out of a NAR file."""

from __future__ import annotations

import sys

from storefs.errors import StoreError, UsageError
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command("verglas nar cat", "Print a file that is inside a NAR file", operands="NAR PATH")


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.nar_index import find_entry, read_index

    if len(invocation.operands) != 2:
        raise UsageError("a NAR file and a path in it are wanted")
    file, path = invocation.operands
    entry = find_entry(read_index(file), path)
    if entry.kind != "regular":
        raise StoreError(f"path '{path}' inside the archive is not a regular file")
    sys.stdout.flush()
    with open(file, "rb") as opened:
        opened.seek(entry.offset)
        left = entry.size
        while left:
            piece = opened.read(min(left, 1 << 18))
            if not piece:
                raise StoreError(f"'{file}' became shorter while it was read")
            sys.stdout.buffer.write(piece)
            left -= len(piece)
    return 0
