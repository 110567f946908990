"""`verglas man-pages`: write a manual page for every command."""

from __future__ import annotations

import os

from profiles.man_pages import man_page, page_name
from storefs.cli import VERSION
from storefs.errors import UsageError
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas man-pages",
    "Write the manual pages of all commands into a directory",
    operands="DIR",
    examples=(("verglas man-pages ~/.local/share/man/man1", "where man(1) finds them"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    if len(invocation.operands) != 1:
        raise UsageError("name the directory to write to, as in 'verglas man-pages ~/.local/share/man/man1'")
    from profiles.all_commands import all_commands

    folder = invocation.operands[0]
    os.makedirs(folder, exist_ok=True)
    programs = all_commands()
    commands = [command for program in programs if program != "nix" for command in programs[program].values()]
    for command in commands:
        with open(f"{folder}/{page_name(command)}.1", "w", encoding="utf-8") as file:
            file.write(man_page(command, VERSION))
    print(f"wrote {len(commands)} pages to '{folder}'")
    return 0
