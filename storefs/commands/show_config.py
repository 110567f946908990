"""`verglas show-config`: what all settings are."""

from __future__ import annotations

import sys

from storefs.options import Command, Option
from storefs.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation
    from storefs.settings import Value

# Lists without an order, and without repetitions: they are shown as Nix shows them.
_SETS = frozenset(
    (
        "experimental-features",
        "extra-platforms",
        "ignored-acls",
        "sandbox-paths",
        "system-features",
        "trusted-substituters",
    )
)

COMMAND = Command(
    "verglas show-config",
    "Show the value of every setting",
    options=(Option("--json", help="print an object"),),
    description="""Values come from the command line, NIX_CONFIG, the user's and the system's nix.conf, and the
defaults, in this order.

With `fsync-store-paths = true`, which is the default here, what is added to a store is on the disk before it is valid.
With false only what is known about paths is waited for (`fsync-metadata`), and not their contents, as with Nix: faster,
and good for machines whose disks are thrown away. After a power cut, paths that were added within the last minute, and
others that share files with them, may be damaged then: `verglas verify` finds those, and `verglas repair` mends
what it can. A daemon goes by its own setting, whatever its clients say.""",
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    values = {name: _shown(name, invocation.config.setting(name)) for name in sorted(DEFAULTS)}
    if invocation.flag("--json"):
        from storefs.commands.operations.json_output import print_json

        rows = {name: {"value": list(value) if isinstance(value, tuple) else value} for name, value in values.items()}
        print_json(invocation, rows, nix_ends_line=True)
        return 0
    for name, value in values.items():
        sys.stdout.write(f"{name} = {_text(value)}\n")
    return 0


def _shown(name: str, value: Value) -> Value:
    return tuple(sorted(set(value))) if name in _SETS and isinstance(value, tuple) else value


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(value) if isinstance(value, tuple) else str(value)
