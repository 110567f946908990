"""`nix-env`'s operations on generations. They need neither an evaluator nor a store, and start accordingly fast.

Each takes the command line and returns what to print.
"""

from __future__ import annotations

import os
import time

from profiles.generations import (
    choose_generation,
    current_number,
    delete_generation,
    find_generations,
    locked,
    switch_link,
    to_delete,
)
from profiles.profile_options import profile_of
from storefs import logs
from storefs.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation


def list_generations(invocation: Invocation) -> str:
    """List all generations, as `nix-env --list-generations` does."""
    _operands(invocation, 0)
    profile = profile_of(invocation)
    current = current_number(profile)
    lines = []
    for each in find_generations(profile):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.created))
        lines.append(f"{each.number:4}   {when}   {'(current)' if each.number == current else ''}\n")
    return "".join(lines)


def rollback(invocation: Invocation) -> str:
    """Make the next older generation live."""
    _operands(invocation, 0)
    return _switch(invocation, None)


def switch_generation(invocation: Invocation) -> str:
    """Make the generation with this number live."""
    (word,) = _operands(invocation, 1)
    if not word.isdecimal():
        raise UsageError("expected a generation number")
    return _switch(invocation, int(word))


def _switch(invocation: Invocation, number: int | None) -> str:
    profile = profile_of(invocation)
    with locked(profile, logs.info):
        before, generation = choose_generation(profile, number)
        logs.log(logs.NOTICE, f"switching profile from version {before} to {generation.number}")
        if not invocation.flag("--dry-run"):
            switch_link(profile, generation.path)
    return ""


def delete_generations(invocation: Invocation) -> str:
    """Forget the generations that the operands mean."""
    profile, dry_run = profile_of(invocation), invocation.flag("--dry-run")
    with locked(profile, logs.info):
        generations, current = find_generations(profile), current_number(profile)
        for each in to_delete(generations, current, invocation.operands, time.time()):
            verb = "would remove" if dry_run else "removing"
            logs.log(logs.NOTICE, f"{verb} profile version {each.number}")
            if not dry_run:
                delete_generation(each)
    return ""


def switch_profile(invocation: Invocation) -> str:
    """Make another profile the user's own."""
    (word,) = _operands(invocation, 1)
    switch_link(f"{invocation.config.home}/.nix-profile", os.path.abspath(word))
    return ""


def _operands(invocation: Invocation, count: int) -> list[str]:
    if len(invocation.operands) != count:
        raise UsageError("no arguments expected" if count == 0 else "exactly one argument expected")
    return invocation.operands
