"""`verglas gc`: remove what nothing needs."""

from __future__ import annotations

from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas gc",
    "Remove what nothing needs from the store",
    options=(
        Option("--max-freed", "--max", takes=("BYTES",), help="stop when so much is freed (K, M, G and T multiply)"),
        Option("--dry-run", help="only print what would be removed"),
        Option("--print-roots", help="only print what keeps paths"),
    ),
    description="""
A path is needed if a root leads to it: a profile, a `result` link, a running program. `verglas why-alive PATH` says
which, and `verglas delete PATH` removes single ones. Running builds and additions are safe.
""",
    examples=(("verglas gc --max 5G", "free five gigabytes"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations import collecting
    from storefs.settings import parse_size

    if invocation.flag("--print-roots"):
        return collecting.print_roots(invocation.config)
    if invocation.flag("--dry-run"):
        return collecting.print_liveness(invocation.config, live=False)
    limit = invocation.value("--max-freed")
    return collecting.collect_garbage(
        invocation.config, collecting.NO_LIMIT if limit is None else parse_size("--max-freed", limit)
    )
