"""`verglas ls`: what is inside a path, without a mount."""

from __future__ import annotations

import os
import sys

from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation
    from storefs.stores.nar_store import NarStore

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
    from storefs.stores.any_store import open_any_store
    from storefs.stores.nar_store import NarStore

    if len(invocation.operands) != 1:
        raise UsageError("one path is wanted")
    if invocation.flag("--json") and invocation.flag("--directory"):
        raise UsageError("'--directory' is useless with '--json'")
    recursive = invocation.flag("--recursive")
    store = open_any_store(invocation.config)
    try:
        if isinstance(store, NarStore):
            return _list_nar(invocation, store)
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


def _list_nar(invocation: Invocation, store: NarStore) -> int:
    """The same for a store that keeps whole NARs; it also tells where in the NAR files are."""
    from storefs.commands.operations.nar_index import describe_entry, list_entry, local_nar_cache, open_object

    file, entry, text = open_object(store, invocation.operands[0], local_nar_cache(invocation.config.store_uri))
    file.close()
    recursive = invocation.flag("--recursive")
    if invocation.flag("--json"):
        from storefs.commands.operations.json_output import print_json

        print_json(invocation, describe_entry(entry, recursive=recursive))
        return 0
    shown = "." if entry.kind == "directory" else os.path.basename(text)
    options = {"long": invocation.flag("--long"), "directory": invocation.flag("--directory")}
    for line in list_entry(entry, shown, recursive=recursive, **options):
        sys.stdout.write(line + "\n")
    return 0
