"""`nix-build`: evaluate, build, and leave links to the results.

Options, links, output and exit statuses are those of Nix 2.8 (`nix-build(1)`).
"""

from __future__ import annotations

import sys

from evaluator.session import open_session
from storefs.installable_options import EVALUATION
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "nix-build",
    "Build a Nix expression",
    operands="[FILE...]",
    options=(
        Option("--attr", "-A", takes=("PATH",), help="choose an attribute of the expression"),
        Option("--expr", "-E", help="the operands are expressions, not files"),
        Option("--out-link", "-o", takes=("LINK",), help="the name of the result link instead of 'result'"),
        Option("--no-out-link", "--no-link", help="leave no result link"),
        Option("--add-root", takes=("LINK",), help="accepted for compatibility: like --out-link", hidden=True),
        Option("--indirect", help="accepted for compatibility", hidden=True),
        Option("--add-drv-link", help="accepted for compatibility", hidden=True),
        Option("--drv-link", takes=("LINK",), help="accepted for compatibility", hidden=True),
        Option("--dry-run", help="only show what would be built or fetched"),
        Option("--check", help="build again and compare with what is there"),
        Option("--repair", help="make again what is damaged"),
        *EVALUATION,
    ),
    examples=(
        ("nix-build '<nixpkgs>' -A hello", "build a package and link it as ./result"),
        ("nix-build -A man --no-out-link", "build output 'man' of ./default.nix"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from evaluator.building import BuildPlan, build_and_print, collect_targets

    session = open_session(invocation)
    plan: BuildPlan = session.run(lambda: collect_targets(session, invocation))
    mode = "check" if invocation.flag("--check") else "repair" if invocation.flag("--repair") else "normal"
    link: str | None = "./result"
    for name, values in invocation.given:  # as in Nix the last one counts
        if name in {"--no-out-link", "--out-link"}:
            link = values[0] if values else None
    link = invocation.value("--add-root", link)
    paths = build_and_print(session, plan, mode=mode, dry_run=invocation.flag("--dry-run"), link=link)
    sys.stdout.write("".join(path + "\n" for path in paths))
    return 0
