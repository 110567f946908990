"""`verglas shell`: an interactive shell that sees the store at its real path."""

from __future__ import annotations

from storefs.commands.run import execute
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas shell",
    "Start a shell that sees the store at its real path",
    operands="[ARG...]",
    raw_after=True,
    description="""
Starts $SHELL, or /bin/sh, as `verglas run` starts a program: with the programs of ~/.nix-profile on its PATH. Arguments
go to the shell.
""",
    examples=(("verglas shell -- -c 'ls /nix/store | wc -l'", "count the store's paths"),),
)


def run(invocation: Invocation) -> int:
    """Replace this process by the shell."""
    config = invocation.config
    return execute(config, [config.variable("SHELL") or "/bin/sh", *invocation.operands])
