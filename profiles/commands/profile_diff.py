"""`verglas profile diff`: how two generations differ."""

from __future__ import annotations

import json
import sys
from contextlib import closing

from profiles.closure_diff import diff_as_json, render_diff
from profiles.flow import compare_generations
from profiles.generations import current_number, find_generation, find_generations
from profiles.profile_options import JSON, PROFILE, profile_of
from storefs.errors import StoreError, UsageError
from storefs.options import Command
from storefs.stores.open import open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from profiles.generations import Generation
    from storefs.options import Invocation

COMMAND = Command(
    "verglas profile diff",
    "Show how the closures of two generations differ",
    operands="[A [B]]",
    options=(PROFILE, JSON),
    description="B is the live generation by default, and A the one before B.",
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    before, after = _chosen(profile_of(invocation), invocation.operands)
    with closing(open_store(invocation.config)) as store:
        diff = compare_generations(store, before, after)
    if invocation.flag("--json"):
        sides = {"from": before.number if before else None, "to": after.number}
        print(json.dumps(sides | diff_as_json(diff)))
        return 0
    if before is not None:
        print(f"<<< {before.path}")
    print(f">>> {after.path}")
    sys.stdout.write(render_diff(diff, sys.stdout.isatty()))
    return 0


def _chosen(profile: str, words: list[str]) -> tuple[Generation | None, Generation]:
    if len(words) > 2 or not all(word.isdecimal() for word in words):
        raise UsageError("name at most two generations by their numbers, as in 'verglas profile diff 3 5'")
    numbers = [int(word) for word in words]
    last = numbers[1] if len(numbers) == 2 else current_number(profile)
    if last is None:
        raise StoreError(f"profile '{profile}' has no live generation")
    after = find_generation(profile, last)
    if numbers:
        return find_generation(profile, numbers[0]), after
    older = [each for each in find_generations(profile) if each.number < after.number]
    return (older[-1] if older else None), after
