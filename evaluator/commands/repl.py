"""`verglas repl` and `nix repl`: evaluate expressions one after the other.

The commands are those of `nix repl`. Names that are defined stay; unfinished expressions go on in the next line; the
history is kept in the user's data directory.
"""

from __future__ import annotations

from functools import partial

from evaluator.session import open_session
from storefs.installable_options import EVALUATION
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas repl",
    "Evaluate expressions interactively",
    operands="[FILE...]",
    options=(
        Option("--expr", "-E", takes=("EXPR",), help="start with the attributes of this expression in scope"),
        Option("--file", "-f", takes=("FILE",), help="start with the attributes of this file in scope"),
        *EVALUATION,
    ),
    description="Type :? for the commands.",
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from evaluator.repl import Repl
    from evaluator.repl_input import LineReader

    session = open_session(invocation)
    repl = Repl(session)
    for file in [*invocation.values("--file"), *invocation.operands]:
        repl.guarded(partial(repl.load, file))
    for expression in invocation.values("--expr"):
        repl.guarded(partial(repl.add_expression, expression))
    reader = LineReader(session.config, repl.complete)
    try:
        repl.loop(reader)
    finally:
        reader.close()
    return 0
