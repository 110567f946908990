"""`verglas profile add`: declare packages and install them."""

from __future__ import annotations

import os

from profiles.commands.profile_apply import apply
from profiles.manifest import STARTER, add_channel, add_package
from profiles.profile_options import JSON, PLACE, place_of
from storefs.durable import replace_file
from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from profiles.printed_data import Plain
    from storefs.options import Invocation

COMMAND = Command(
    "verglas profile add",
    "Add packages to profile.yaml and apply it",
    operands="PACKAGE...",
    options=(
        *PLACE,
        JSON,
        Option("--priority", takes=("NUMBER",), help="who wins a conflict: the lower number"),
        Option("--outputs", takes=("NAMES",), help="the outputs to install, separated by commas"),
        Option("--pin", help="let upgrades leave it alone"),
        Option("--channel", takes=("NAME=LOCATION",), help="add a channel first, or change where one is"),
        Option("--no-apply", help="only change the file"),
    ),
    description="A package is an attribute path in the first channel, CHANNEL#ATTRIBUTE, or a path. If it can't be "
    "installed, the file stays as it was.",
    examples=(
        ("verglas profile add hello", "declare and install a package"),
        ("verglas profile add --priority 4 mine#tools", "one of another channel, which wins conflicts"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    if not invocation.operands and not invocation.values("--channel"):
        raise UsageError("name the packages to add, as in 'verglas profile add hello'")
    place = place_of(invocation)
    try:
        with open(place.manifest, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        os.makedirs(os.path.dirname(place.manifest), exist_ok=True)
        text = b"" if invocation.values("--channel") else STARTER.encode()
    for channel in invocation.values("--channel"):
        name, equals, location = channel.partition("=")
        if not equals:
            raise UsageError(f"'--channel {channel}' should be NAME=LOCATION")
        text = add_channel(text, place.manifest, name, location)
    for word in invocation.operands:
        text = add_package(text, place.manifest, _entry(word, invocation))
    if invocation.flag("--no-apply"):
        from profiles.manifest import parse_declaration

        parse_declaration(text, place.manifest, invocation.config.home)
        replace_file(place.manifest, text)
        return 0
    return apply(place, invocation.config, as_json=invocation.flag("--json"), text=text)


def _entry(word: str, invocation: Invocation) -> str | dict[str, Plain]:
    details: dict[str, Plain] = {}
    outputs, priority = invocation.value("--outputs"), invocation.value("--priority")
    if outputs is not None:
        details["outputs"] = list(outputs.split(","))
    if priority is not None:
        if not priority.removeprefix("-").isdecimal():
            raise UsageError(f"'--priority {priority}' should be a number")
        details["priority"] = int(priority)
    if invocation.flag("--pin"):
        details["pin"] = True
    if not details:
        return word
    if word.startswith(("/", "./", "../", "~/")):
        return {"path": word, **details}
    channel, mark, attr = word.rpartition("#")
    return {"attr": attr, "channel": channel, **details} if mark else {"attr": attr, **details}
