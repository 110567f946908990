"""How commands print JSON: in one line without spaces, as `nix` does."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation


def print_json(invocation: Invocation, value: object, *, nix_ends_line: bool = False) -> None:
    """Print a value made of dicts, lists, strings and numbers.

    Args:
        invocation: the command line; `nix` is answered byte for byte as Nix 2.8 does.
        value: what to print.
        nix_ends_line: whether this verb of Nix 2.8 ends the line; those that write while they walk do not.
    """
    import json

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    end = "\n" if nix_ends_line or invocation.program != "nix" else ""
    sys.stdout.write(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") + end)
