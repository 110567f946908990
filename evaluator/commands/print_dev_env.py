"""`verglas print-dev-env`: shell code that recreates the environment a package is built in."""

from __future__ import annotations

from evaluator.commands.develop import enter
from storefs.installable_options import EVALUATION
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas print-dev-env",
    "Print shell code that recreates the build environment of a package",
    operands="[ATTRIBUTE]",
    options=(
        Option("--file", "-f", takes=("FILE",), help="the expressions; shell.nix or default.nix by default"),
        Option("--expr", takes=("EXPR",), help="an expression instead of a file"),
        *EVALUATION,
    ),
    examples=(
        (". <(verglas print-dev-env -f default.nix hello)", "have hello's environment in this very shell (bash)"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command; does not return."""
    return enter(invocation, ["--pure", "--run", "export -p; declare -f"])
