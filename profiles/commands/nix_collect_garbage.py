"""`nix-collect-garbage`: forget old generations if asked to, then remove what nothing needs."""

from __future__ import annotations

import os
import time

from storefs import logs
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "nix-collect-garbage",
    "Delete unreachable store objects",
    options=(
        Option("--delete-old", "-d", help="first delete all old generations of all profiles"),
        Option("--delete-older-than", takes=("AGE",), help="first delete generations older than, as in 30d"),
        Option("--max-freed", takes=("BYTES",), help="stop when so much is freed (K, M, G and T multiply)"),
        Option("--dry-run", help="only say which generations would be deleted"),
    ),
    examples=(("nix-collect-garbage --delete-older-than 30d", "forget last month's generations and what they kept"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from profiles.generations import parse_days
    from storefs.commands.operations import collecting
    from storefs.settings import parse_size

    age = invocation.value("--delete-older-than")
    dry_run = invocation.flag("--dry-run")
    if age is not None:
        parse_days(age)  # a number alone would name a generation
    if age is not None or invocation.flag("--delete-old"):
        _delete_generations(f"{invocation.config.state_dir}/profiles", [age or "old"], dry_run=dry_run)
    if dry_run:
        return 0
    limit = invocation.value("--max-freed")
    return collecting.collect_garbage(
        invocation.config, collecting.NO_LIMIT if limit is None else parse_size("--max-freed", limit)
    )


def _delete_generations(directory: str, spec: list[str], *, dry_run: bool) -> None:
    """Delete generations of every profile below ``directory``: every link whose target is named like a generation."""
    from profiles.generations import current_number, delete_generation, find_generations, locked, to_delete

    for parent, _, _ in os.walk(directory):
        if not os.access(parent, os.W_OK):
            continue
        for name in sorted(os.listdir(parent)):
            profile = f"{parent}/{name}"
            if not os.path.islink(profile) or "link" not in os.readlink(profile):
                continue
            logs.info(f"removing old generations of profile {profile}")
            with locked(profile, logs.info):
                chosen = to_delete(find_generations(profile), current_number(profile), spec, time.time())
                for generation in chosen:
                    logs.info(f"{'would remove' if dry_run else 'removing'} generation {generation.number}")
                    if not dry_run:
                        delete_generation(generation)
