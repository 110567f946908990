"""`verglas profile remove`: declare packages no longer, and uninstall them."""

from __future__ import annotations

import difflib

from profiles.commands.profile_apply import apply
from profiles.manifest import parse_declaration, read_declaration, remove_package
from profiles.profile_options import JSON, PLACE, place_of
from storefs.durable import replace_file
from storefs.errors import StoreError, UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from profiles.declaration import Declaration
    from storefs.options import Invocation

COMMAND = Command(
    "verglas profile remove",
    "Remove packages from profile.yaml and apply it",
    operands="PACKAGE...",
    options=(*PLACE, JSON, Option("--no-apply", help="only change the file")),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    if not invocation.operands:
        raise UsageError("name the packages to remove, as in 'verglas profile remove hello'")
    place = place_of(invocation)
    declaration = read_declaration(place.manifest, invocation.config.home)
    text = declaration.text
    for word in invocation.operands:
        text = remove_package(text, place.manifest, _index_of(word, declaration))
        declaration = parse_declaration(text, place.manifest, invocation.config.home)
    if invocation.flag("--no-apply"):
        replace_file(place.manifest, text)
        return 0
    return apply(place, invocation.config, as_json=invocation.flag("--json"), text=text)


def _index_of(word: str, declaration: Declaration) -> int:
    channel, mark, attr = word.rpartition("#")
    found = [
        index
        for index, package in enumerate(declaration.packages)
        if package.label == word or (mark and (package.channel, package.attr) == (channel, attr))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise StoreError(f"'{word}' is declared {len(found)} times; say CHANNEL#ATTRIBUTE")
    near = difflib.get_close_matches(word, [package.label for package in declaration.packages], 1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise StoreError(f"'{word}' is not declared in '{declaration.path}'{hint}")
