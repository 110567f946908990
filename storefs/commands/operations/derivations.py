"""Derivations shown to people and shells: `nix-store --print-env`."""

from __future__ import annotations

import sys

from storefs.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.api import Store
    from storefs.formats.store_path import StorePath


def print_environment(store: Store, path: StorePath) -> int:
    """Print a derivation's environment, and its arguments as `_args`, in a form that a shell can source.

    `_args` is one word, the arguments joined by spaces. Nix 2.8 quotes each of them inside of the quotes around all of
    them, which no shell can read. Names that can be no variables of a shell, at which reading would end, are left out.

    Raises:
        UsageError: it is no derivation.
    """
    if not path.is_derivation:
        raise UsageError(f"'{store.directory.print(path)}' is not a derivation; 'nix-store -q --deriver' names one")
    derivation = store.derivation(path)
    for name, value in sorted(derivation.env.items()):
        if name.isascii() and name.isidentifier():
            _write(f"export {name}; {name}={quote(value)}\n")
    _write(f"export _args; _args={quote(' '.join(derivation.args))}\n")
    return 0


def quote(text: str) -> str:
    """Quote a word for a POSIX shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _write(text: str) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
