"""`verglas profile history`: the generations, and what each changed."""

from __future__ import annotations

import json
import time
from contextlib import closing

from profiles.generations import current_number, find_generations
from profiles.profile_options import JSON, PROFILE, profile_of
from storefs.logs import info
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from profiles.generations import Generation
    from storefs.api import Store
    from storefs.options import Invocation

COMMAND = Command(
    "verglas profile history",
    "List the generations and what each of them changed",
    options=(PROFILE, JSON, Option("--brief", help="only numbers and dates; does not look into the store")),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    profile = profile_of(invocation)
    generations = find_generations(profile)
    current = current_number(profile)
    changes: dict[int, list[str]] = {}
    if not invocation.flag("--brief") and generations:
        from storefs.stores.open import open_store

        with closing(open_store(invocation.config)) as store:
            changes = _changes(store, generations)
    if invocation.flag("--json"):
        print(
            json.dumps(
                [
                    {
                        "generation": each.number,
                        "created": int(each.created),
                        "current": each.number == current,
                        "path": each.target(),
                        "changes": changes.get(each.number, []),
                    }
                    for each in generations
                ]
            )
        )
        return 0
    if not generations:
        info("the profile has no generation yet; 'verglas profile apply' makes the first")
    for each in generations:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.created))
        print(f"{each.number:4}   {when}{'   (current)' if each.number == current else ''}")
        for line in changes.get(each.number, []):
            print(f"         {line}")
    return 0


def _changes(store: Store, generations: list[Generation]) -> dict[int, list[str]]:
    """Say for each generation how its packages differ from those of the one before."""
    from profiles.flow import elements_of
    from profiles.package_names import split_name
    from storefs.errors import StoreError

    lines: dict[int, list[str]] = {}
    before: dict[str, str] = {}
    for generation in generations:
        try:
            names = [split_name(element.name) for element in elements_of(store, generation)]
        except StoreError as error:
            lines[generation.number] = [str(error)]
            continue
        after = dict(names)
        lines[generation.number] = [
            _change(name, before.get(name), after.get(name))
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]
        before = after
    return lines


def _change(name: str, before: str | None, after: str | None) -> str:
    if before is None:
        return f"{name} {after}".rstrip() + " added"
    if after is None:
        return f"{name} {before}".rstrip() + " removed"
    return f"{name} {before} -> {after}"
