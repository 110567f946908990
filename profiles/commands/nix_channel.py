"""`nix-channel`: subscribe to channels, update them, go back."""

from __future__ import annotations

from profiles.profile_options import user_name
from storefs import logs
from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.session import Session
    from storefs.options import Invocation

COMMAND = Command(
    "nix-channel",
    "Manage Nix channels",
    operands="[URL [NAME]|NAME...|GENERATION]",
    options=(
        Option("--add", operation=True, help="URL [NAME]: subscribe to a channel"),
        Option("--remove", operation=True, help="NAME: unsubscribe from a channel"),
        Option("--list", operation=True, help="list the channels"),
        Option("--update", operation=True, help="[NAME...]: fetch the channels"),
        Option("--rollback", operation=True, help="[GENERATION]: undo an update"),
        Option("--list-generations", operation=True, help="list the updates that can be gone back to"),
    ),
    examples=(
        ("nix-channel --add https://nixos.org/channels/nixpkgs-unstable", "subscribe to a channel"),
        ("nix-channel --update nixpkgs", "fetch one channel and leave the others as they are"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    operation = invocation.operation()
    if operation is None:
        raise UsageError("no command specified")
    from profiles import channels

    config, operands = invocation.config, invocation.operands
    listed = channels.list_path(config.home)
    profile = channels.channels_profile(config, user_name(config))
    if operation == "--add":
        if not 1 <= len(operands) <= 2:
            raise UsageError("'--add' requires one or two arguments")
        url = operands[0]
        channels.subscribe(listed, url, operands[1] if len(operands) == 2 else channels.name_for(url))
    elif operation == "--list":
        if operands:
            raise UsageError("'--list' expects no arguments")
        for name, url in sorted(channels.read_list(listed).items()):
            print(name, url)
    elif operation == "--remove":
        if len(operands) != 1:
            raise UsageError("'--remove' requires one argument")
        channels.unsubscribe(_session(invocation), listed, profile, operands[0])
    elif operation == "--update":
        channels.update(_session(invocation), listed, profile, set(operands))
        channels.link_expressions(config.home, profile)
    elif operation == "--list-generations":
        _list_generations(profile)
    else:
        _roll_back(profile, operands)
    return 0


def _session(invocation: Invocation) -> Session:
    from evaluator.session import Session

    # An update asks again, however recently somebody asked.
    return Session(invocation.config.with_settings([("tarball-ttl", "0")]))


def _roll_back(profile: str, operands: list[str]) -> None:
    from profiles.live import roll_back

    if len(operands) > 1:
        raise UsageError("'--rollback' has at most one argument")
    if operands and not operands[0].isdecimal():
        raise UsageError("expected a generation number")
    before, generation = roll_back(profile, int(operands[0]) if operands else None)
    logs.log(logs.NOTICE, f"switching profile from version {before} to {generation.number}")


def _list_generations(profile: str) -> None:
    import time

    from profiles.generations import current_number, find_generations

    current = current_number(profile)
    for each in find_generations(profile):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.created))
        print(f"{each.number:4}   {when}   {'(current)' if each.number == current else ''}")
