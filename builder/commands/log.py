"""`verglas log`: what a builder printed."""

from __future__ import annotations

import os

from storefs.errors import UsageError
from storefs.installable_options import INSTALLABLES
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas log",
    "Show the log of a build",
    operands="PATH... | -f FILE [ATTRIBUTE...]",
    installables=True,
    options=INSTALLABLES,
    description="""
        PATH is a derivation, something that it made, or a link to either, as in ./result. Logs are kept below
        NIX_LOG_DIR/drvs, compressed, unless keep-build-log is off. Of a build that still runs, or was killed, what it
        printed so far is shown.
    """,
    examples=(("verglas log ./result", "show how the program was built that result points to"),),
)


def run(invocation: Invocation) -> int:
    """Print the logs of all operands, one after the other."""
    from builder.commands.operations.logs import print_logs
    from storefs.stores.any_store import open_any_store

    if not invocation.operands:
        raise UsageError("verglas log needs a path")
    store = open_any_store(invocation.config)
    try:
        directory = store.directory
        paths = [directory.to_store_path(os.path.realpath(operand))[0] for operand in invocation.operands]
        return print_logs(invocation.config, store, paths)
    finally:
        store.close()
