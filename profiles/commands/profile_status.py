"""`verglas profile status`: whether file, lock file and live generation agree."""

from __future__ import annotations

import json

from evaluator.session import Session
from profiles.flow import elements_of
from profiles.live import declared_text, live_generation
from profiles.lock import read_lock
from profiles.manifest import read_declaration
from profiles.profile_options import JSON, PLACE, place_of
from profiles.sources import is_state_of, path_state
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from profiles.declaration import Declaration
    from profiles.elements import Element
    from profiles.generations import Generation
    from profiles.lock import Lock
    from profiles.profile_options import Place
    from storefs.options import Invocation

COMMAND = Command(
    "verglas profile status",
    "Show where profile.yaml, its lock file and the live generation differ",
    options=(*PLACE, JSON, Option("--check", help="exit with status 1 if they differ")),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    place = place_of(invocation)
    declaration = read_declaration(place.manifest, invocation.config.home)
    lock = read_lock(place.lock)
    live = live_generation(place.profile)
    session = Session(invocation.config, read_only=True)
    elements = elements_of(session.store, live) if live is not None else []
    drift = [
        *_live_drift(declaration, lock, live, place),
        *_package_drift(declaration, lock, elements),
        *session.run(lambda: _channel_drift(session, declaration, lock)),
    ]
    if invocation.flag("--json"):
        number = None if live is None else live.number
        print(json.dumps({"profile": place.profile, "generation": number, "inSync": not drift, "drift": drift}))
    else:
        print(f"file        {place.manifest}")
        print(f"generation  {'none' if live is None else f'{live.number}  {live.path}'}")
        for line in drift:
            print(f"  {line}")
        print("differs; 'verglas profile apply' makes it so" if drift else "in sync")
    return 1 if drift and invocation.flag("--check") else 0


def _live_drift(declaration: Declaration, lock: Lock, live: Generation | None, place: Place) -> list[str]:
    if live is None:
        return ["nothing was applied yet"]
    texts = declared_text(live)
    if texts is None:
        return [f"generation {live.number} was not made from a declaration"]
    drift = []
    if texts[0] != declaration.text:
        drift.append(f"'{place.manifest}' is not what made generation {live.number}")
    from profiles.lock import print_lock

    if texts[1] != print_lock(lock):
        drift.append(f"'{place.lock}' is not what made generation {live.number}")
    return drift


def _package_drift(declaration: Declaration, lock: Lock, elements: list[Element]) -> list[str]:
    live_paths = {element.out_path for element in elements}
    locked = {package.key: package for package in lock.packages}
    drift = []
    wanted = set()
    for package in declaration.packages:
        found = locked.get((package.channel, package.path, package.attr))
        if found is None:
            drift.append(f"{package.label} is declared and not locked yet")
            continue
        wanted.add(found.element.out_path)
        if found.element.out_path not in live_paths:
            drift.append(f"{package.label} is declared ({found.element.name}) and not live")
    for element in elements:
        if element.out_path not in wanted and element.name != "profile-links":
            drift.append(f"{element.name} is live and not declared")
    return drift


def _channel_drift(session: Session, declaration: Declaration, lock: Lock) -> list[str]:
    drift = []
    used = {package.channel for package in declaration.packages}
    for name, channel in declaration.channels.items():
        locked = lock.channels.get(name)
        if locked is None or not is_state_of(locked, channel):
            if name not in used:
                continue  # nobody takes what nothing is made from
            drift.append(f"channel '{name}' is declared and not locked yet")
        elif channel.kind == "path" and path_state(session.io, channel) != locked.nar_hash:
            drift.append(
                f"channel '{name}' has changed since it was locked; 'verglas profile upgrade {name}' takes it up"
            )
    return drift
