"""`verglas profile export`: the declaration that made a generation, for another machine or for going back to it."""

from __future__ import annotations

import json
import sys
from contextlib import closing

from profiles.flow import elements_of
from profiles.generations import find_generation
from profiles.live import declared_text, live_generation
from profiles.manifest import add_package
from profiles.profile_options import JSON, PROFILE, profile_of
from storefs.errors import StoreError, UsageError
from storefs.options import Command, Option
from storefs.stores.open import open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from profiles.generations import Generation
    from storefs.options import Invocation

COMMAND = Command(
    "verglas profile export",
    "Print the profile.yaml that made a generation",
    operands="[GENERATION]",
    options=(PROFILE, JSON, Option("--lock", help="print the lock file instead")),
    description="For a generation that nix-env made, a declaration of its store paths is printed. --json prints both "
    "files as one object.",
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    profile, words = profile_of(invocation), invocation.operands
    if len(words) > 1 or not all(word.isdecimal() for word in words):
        raise UsageError("name at most one generation by its number")
    generation = find_generation(profile, int(words[0])) if words else live_generation(profile)
    if generation is None:
        raise StoreError(f"profile '{profile}' has no live generation")
    texts = declared_text(generation) or _made_up(invocation, generation)
    if invocation.flag("--json"):
        print(json.dumps({"declaration": texts[0].decode(), "lock": json.loads(texts[1]) if texts[1] else None}))
        return 0
    if invocation.flag("--lock") and not texts[1]:
        raise StoreError(f"generation {generation.number} was not made from a declaration, so it has no lock file")
    sys.stdout.flush()
    sys.stdout.buffer.write(texts[1] if invocation.flag("--lock") else texts[0])
    return 0


def _made_up(invocation: Invocation, generation: Generation) -> tuple[bytes, bytes]:
    text = b""
    with closing(open_store(invocation.config)) as store:
        for element in elements_of(store, generation):
            for path in element.outputs.values():
                priority = element.priority
                text = add_package(text, "export", {"path": path, "priority": priority} if priority != 5 else path)
    return text or b"packages: []\n", b""
