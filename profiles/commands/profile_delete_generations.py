"""`verglas profile delete-generations`: forget old generations."""

from __future__ import annotations

import json
import time

from profiles.generations import current_number, delete_generation, find_generations, locked, to_delete
from profiles.profile_options import JSON, PROFILE, profile_of
from storefs import logs
from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas profile delete-generations",
    "Forget generations, so that the garbage collector can take what only they need",
    operands="NUMBER...|FIRST..LAST|old|30d|+5",
    options=(PROFILE, JSON, Option("--dry-run", help="only say what would be deleted")),
    description="'old' is all but the live one, '30d' those no longer live for 30 days, '+5' all but the newest five. "
    "The live generation is never deleted.",
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    if not invocation.operands:
        raise UsageError("say which generations, as in 'verglas profile delete-generations 30d'")
    profile, dry_run = profile_of(invocation), invocation.flag("--dry-run")
    with locked(profile, logs.info):
        chosen = to_delete(find_generations(profile), current_number(profile), invocation.operands, time.time())
        for generation in chosen if not dry_run else ():
            delete_generation(generation)
    if invocation.flag("--json"):
        print(json.dumps({"profile": profile, "deleted": sorted(each.number for each in chosen), "dryRun": dry_run}))
        return 0
    for generation in chosen:
        print(f"{'would delete' if dry_run else 'deleted'} generation {generation.number}")
    return 0
