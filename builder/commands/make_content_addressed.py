"""`verglas make-content-addressed` and `nix store make-content-addressed`: closures under names from their contents."""

from __future__ import annotations

import sys

from storefs.errors import UsageError
from storefs.installable_options import INSTALLABLES
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas make-content-addressed",
    "Rewrite paths and what they refer to under names that follow from their contents",
    operands="PATH... | -f FILE [ATTRIBUTE...]",
    installables=True,
    options=(
        Option("--from", takes=("URI",), help="where from: a binary cache or a store; by default this store"),
        Option("--to", takes=("URI",), help="where to: a store; by default this store"),
        Option("--json", help="print an object with the new path of each operand"),
        *INSTALLABLES,
    ),
    description="""
The new paths need no signature: whoever gets them can compare their contents with their names. The old ones stay.
""",
    examples=(
        ("verglas make-content-addressed --json ./result", "rewrite a result and print its new path"),
        ("verglas make-content-addressed --from https://cache.example.org PATH", "find the 'toPath' of fetchClosure"),
    ),
)


def run(invocation: Invocation) -> int:
    """Rewrite."""
    from contextlib import closing

    from builder.content_addressing import make_content_addressed
    from storefs.commands.operations.json_output import print_json
    from storefs.commands.operations.operands import to_store_path
    from storefs.config import load_config
    from storefs.stores.any_store import open_any_store
    from storefs.stores.showing import show_paths
    from storefs.stores.store_source import StoreSource

    if not invocation.operands:
        raise UsageError("name the paths to rewrite")
    config = invocation.config
    source, target = (
        config if uri is None else load_config(config.environment(), invocation.settings, store_uri=uri)
        for uri in (invocation.value("--from"), invocation.value("--to"))
    )
    with closing(open_any_store(target)) as store, closing(open_any_store(source)) as origin:
        paths = [to_store_path(store.directory, operand) for operand in invocation.operands]
        moved = make_content_addressed(StoreSource(origin, origin.uri), store, paths)
        show_paths(target, store.uri, moved.values())
        shown = {store.directory.print(path): store.directory.print(moved[path]) for path in paths}
    if invocation.flag("--json"):
        print_json(invocation, {"rewrites": shown})
    else:
        for old, new in shown.items():
            (sys.stderr if invocation.program == "nix" else sys.stdout).write(f"rewrote '{old}' to '{new}'\n")
    return 0
