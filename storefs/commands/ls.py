"""`verglas ls`: what is inside a path, without a mount."""

from __future__ import annotations

import os
import sys

from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas ls",
    "List what is inside a path in the store",
    operands="PATH",
    options=(
        Option("--recursive", "-R", help="list subdirectories too"),
        Option("--long", "-l", help="show modes, sizes and targets"),
        Option("--directory", "-d", help="show a directory itself, not what it contains"),
        Option("--json", help="print an object"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.reading import NoSuchFileError, describe, find_object, listing
    from storefs.stores.open import open_store

    if len(invocation.operands) != 1:
        raise UsageError("one path is wanted")
    if invocation.flag("--json") and invocation.flag("--directory"):
        raise UsageError("'--directory' is useless with '--json'")
    recursive = invocation.flag("--recursive")
    store = open_store(invocation.config)
    try:
        try:
            local, entry, text = find_object(store, invocation.operands[0])
        except NoSuchFileError as error:
            if invocation.flag("--json"):
                raise NoSuchFileError(f"{error} in NAR") from None  # what scripts have looked for since Nix 2.0
            raise
        if invocation.flag("--json"):
            from storefs.commands.operations.json_output import print_json

            print_json(invocation, describe(local, entry, recursive=recursive))
            return 0
        if invocation.flag("--directory") and entry.is_directory:
            sys.stdout.write(".\n")
            return 0
        for line in listing(local, entry, os.path.basename(text), long=invocation.flag("--long"), recursive=recursive):
            sys.stdout.write(line + "\n")
    finally:
        store.close()
    return 0
