"""`verglas profile rollback`: make an older generation live again."""

from __future__ import annotations

import json

from profiles.live import declared_text, roll_back
from profiles.profile_options import JSON, PROFILE, profile_of
from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas profile rollback",
    "Make the previous generation live again, or another one",
    options=(PROFILE, JSON, Option("--to", takes=("NUMBER",), help="the generation to switch to")),
    description="Nothing is evaluated, built or downloaded: one rename. The declaration is left alone, so "
    "'verglas profile status' shows that it differs, and 'verglas profile apply' goes forward again.",
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    wanted = invocation.value("--to")
    if wanted is not None and not wanted.isdecimal():
        raise UsageError(f"'--to {wanted}' should be the number of a generation")
    profile = profile_of(invocation)
    before, generation = roll_back(profile, None if wanted is None else int(wanted))
    if invocation.flag("--json"):
        print(json.dumps({"profile": profile, "from": before, "to": generation.number}))
    else:
        print(f"generation {generation.number} is live (it was {before})")
    texts = declared_text(generation)
    if texts is not None and b"hooks" in texts[0]:
        from profiles.manifest import parse_declaration
        from profiles.switch import run_hooks

        declaration = parse_declaration(texts[0], generation.path, invocation.config.home)
        run_hooks(declaration.activation, profile, generation, invocation.config)
    return 0
