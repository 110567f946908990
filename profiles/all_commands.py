"""Every program and verb with its table, for what is generated from them: completions and manual pages.

Imports all commands, so it is for those two only.
"""

from __future__ import annotations

from storefs.cli import load_verb, verb_names, verbs_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Command


def all_commands() -> dict[str, dict[str, Command]]:
    """Return program -> verb -> table; a program without verbs has the one verb ''."""
    programs = {program: verbs_of(program) for program in ("verglas", "nix")}
    for name in verb_names():
        if name.startswith("nix_"):
            programs[name.replace("_", "-")] = {"": load_verb(name)[0]}
    return programs
