"""Derivations shown to people and shells: `nix-store --print-env`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.api import Store
    from storefs.formats.store_path import StorePath


def print_environment(store: Store, path: StorePath) -> int:
    """Print a derivation's environment, and its arguments as `_args`, in a form that a shell can source."""
    derivation = store.derivation(path)
    for name, value in sorted(derivation.env.items()):
        _write(f"export {name}; {name}={quote(value)}\n")
    arguments = " ".join(quote(argument) for argument in derivation.args)
    _write(f"export _args; _args='{arguments}'\n")
    return 0


def quote(text: str) -> str:
    """Quote a word for a POSIX shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _write(text: str) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
