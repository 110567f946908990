"""`verglas diff-closures`: which packages and versions two closures differ in, as `nix store diff-closures` says it."""

from __future__ import annotations

import re
import sys

from storefs.errors import UsageError
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.api import Store
    from storefs.options import Invocation

    Versions = dict[str, int]  # version -> bytes of all its paths

COMMAND = Command(
    "verglas diff-closures",
    "Show how the closures of two paths differ",
    operands="BEFORE AFTER",
    examples=(("verglas diff-closures /run/booted-system /run/current-system", "what an update brought"),),
)

_SHOWN_DELTA = 8 * 1024  # bytes; smaller differences of size are not worth a line
_OUTPUT = re.compile(r"(.*)-([a-z]+|lib32|lib64)")
_RED, _GREEN, _NORMAL = "\x1b[31;1m", "\x1b[32;1m", "\x1b[0m"


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.operands import to_store_path
    from storefs.stores.open import open_store

    if len(invocation.operands) != 2:
        raise UsageError("two paths are wanted")
    store = open_store(invocation.config)
    try:
        before, after = (
            _versions(store, to_store_path(store.directory, each).base_name) for each in invocation.operands
        )
    finally:
        store.close()
    colour = sys.stdout.isatty() and not invocation.config.variable("NO_COLOR")
    for name in sorted(before.keys() | after.keys()):
        items = _differences(before.get(name, {}), after.get(name, {}), colour)
        if items:
            sys.stdout.write(f"{name}: {', '.join(items)}\n")
    return 0


def _versions(store: Store, base_name: str) -> dict[str, Versions]:
    """Return name -> versions of everything in a closure; an output's suffix belongs to neither."""
    from storefs.formats.store_path import StorePath
    from storefs.stores.closure import closure

    found: dict[str, Versions] = {}
    for path in closure(store, [StorePath(base_name)]):
        match = _OUTPUT.fullmatch(path.name)
        name, version = _split(match[1] if match else path.name)
        versions = found.setdefault(name, {})
        versions[version] = versions.get(version, 0) + store.path_info(path).nar_size
    return found


def _split(full: str) -> tuple[str, str]:
    """Split at the first dash that no letter follows."""
    match = re.match(r"(.*?)-([^A-Za-z].*)", full)
    return (match[1], match[2]) if match else (full, "")


def _differences(before: Versions, after: Versions, colour: bool) -> list[str]:
    removed, added = before.keys() - after.keys(), after.keys() - before.keys()
    items = []
    if removed or added:
        items.append(f"{_shown(removed)} → {_shown(added)}")
    delta = sum(after.values()) - sum(before.values())
    if abs(delta) >= _SHOWN_DELTA:
        text = f"{delta / 1024:+.1f} KiB"
        items.append(f"{_RED if delta > 0 else _GREEN}{text}{_NORMAL}" if colour else text)
    return items


def _shown(versions: set[str]) -> str:
    return ", ".join(sorted(version or "ε" for version in versions)) or "∅"
