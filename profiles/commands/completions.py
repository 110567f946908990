"""`verglas completions`: scripts that let a shell complete every command."""

from __future__ import annotations

import sys

from profiles.completions import SHELLS, script
from storefs.errors import UsageError
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas completions",
    "Print completions for a shell: bash, zsh or fish",
    operands="SHELL",
    examples=(
        ("verglas completions bash > /etc/bash_completion.d/verglas", "for all users of bash"),
        (". <(verglas completions zsh)", "in ~/.zshrc, after compinit"),
        ("verglas completions fish | source", "in ~/.config/fish/config.fish"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    if len(invocation.operands) != 1 or invocation.operands[0] not in SHELLS:
        raise UsageError(f"name one shell: {', '.join(SHELLS)}")
    from profiles.all_commands import all_commands

    sys.stdout.write(script(invocation.operands[0], all_commands()))
    return 0
