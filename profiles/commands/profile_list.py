"""`verglas profile list`: the packages of a generation."""

from __future__ import annotations

import json
from contextlib import closing

from profiles.flow import elements_of
from profiles.generations import find_generation
from profiles.live import live_generation
from profiles.profile_options import JSON, PROFILE, profile_of
from storefs.errors import UsageError
from storefs.options import Command
from storefs.stores.open import open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas profile list",
    "List the packages of the live generation, or of another one",
    operands="[GENERATION]",
    options=(PROFILE, JSON),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    profile, words = profile_of(invocation), invocation.operands
    if len(words) > 1 or not all(word.isdecimal() for word in words):
        raise UsageError("name at most one generation by its number")
    generation = find_generation(profile, int(words[0])) if words else live_generation(profile)
    with closing(open_store(invocation.config)) as store:
        elements = elements_of(store, generation)
    if invocation.flag("--json"):
        print(
            json.dumps(
                [
                    {
                        "name": each.name,
                        "system": each.system,
                        "outPath": each.out_path,
                        "outputs": each.outputs,
                        "priority": each.priority,
                        "description": each.meta_value("description"),
                    }
                    for each in elements
                ]
            )
        )
        return 0
    width = max((len(each.name) for each in elements), default=0)
    for each in sorted(elements, key=lambda element: element.name):
        print(f"{each.name:<{width}}  {each.meta_value('description') or each.out_path}")
    return 0
