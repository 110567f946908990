"""The search path: what `<nixpkgs/lib>` means.

An element is a directory, or a prefix and what it stands for: `nixpkgs=/path`. What it stands for may be a URL of an
archive or `channel:NAME`; it is fetched when something is first looked for in it. Elements that do not exist are
skipped with a warning. Semantics: `findFile` in parser.y of Nix 2.8. Where elements come from is in `nix_path.py`.
"""

from __future__ import annotations

import os

from evaluator.errors import CALL_SITE, EvalError, ThrownError
from evaluator.host_files import COREPKGS
from evaluator.nix_path import is_uri, resolve_uri
from storefs.errors import StoreError
from storefs.logs import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from evaluator.eval_io import EvalIO


class SearchPath:
    """Elements in the order in which they are tried.

    Args:
        elements: (prefix, path or URL) pairs.
        io: the effects.
        fetch: makes the store path of a URL's unpacked archive.
        pure: the evaluation is pure, and has no search path.
    """

    def __init__(
        self, elements: Sequence[tuple[str, str]], io: EvalIO, fetch: Callable[[str], str], *, pure: bool = False
    ) -> None:
        self.elements = list(elements)
        self._io = io
        self._fetch = fetch
        self._pure = pure
        self._resolved: dict[str, str | None] = {}
        self._known: dict[str, bool] = {}

    def find(self, name: str, elements: Sequence[tuple[str, str]] | None = None) -> str | None:
        """Return the path that `<name>` stands for, None if there is none.

        Args:
            name: what is between the angle brackets.
            elements: other elements than its own (`builtins.findFile`).
        """
        for prefix, target in self.elements if elements is None else elements:
            if not prefix:
                suffix = "/" + name
            elif name == prefix:
                suffix = ""
            elif name.startswith(prefix) and name[len(prefix)] == "/":
                suffix = name[len(prefix) :]
            else:
                continue
            base = self.resolve(target)
            if base is not None and self._exists(base + suffix):
                return os.path.normpath(base + suffix)
        if name.startswith("nix/"):
            return COREPKGS + name[4:]
        return None

    def require(self, name: str, elements: Sequence[tuple[str, str]] | None = None, pos: int = CALL_SITE) -> str:
        """Return what `find` does; ThrownError, which tryEval catches, if there is nothing."""
        found = self.find(name, elements)
        if found is None:
            if self._pure:
                raise ThrownError(
                    f"cannot look up '<{name}>' in pure evaluation mode (use '--impure' to override)", pos
                )
            raise ThrownError(f"file '{name}' was not found in the Nix search path (add it using $NIX_PATH or -I)", pos)
        return found

    def forget(self) -> None:
        """Look for files anew (the repl's :r)."""
        self._known.clear()

    def _exists(self, path: str) -> bool:
        """Return whether something is there; asked once, for every `<nix/fetchurl.nix>` goes through all elements."""
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = self._is_there(path)
        return known

    def _is_there(self, path: str) -> bool:
        try:
            return self._io.exists(path)
        except OSError as error:
            raise EvalError(f"getting status of '{path}': {error.strerror}") from None

    def resolve(self, target: str) -> str | None:
        """Return the directory or file that an element stands for, None (and a warning, once) if it is not there."""
        if target in self._resolved:
            return self._resolved[target]
        found: str | None
        if is_uri(target):
            try:
                found = self._fetch(resolve_uri(target))
            except StoreError as error:
                warn(f"Nix search path entry '{target}' cannot be downloaded, ignoring: {error}")
                found = None
        else:
            path = os.path.abspath(target)
            found = path if self._is_there(path) else None
            if found is None:
                warn(f"Nix search path entry '{path}' does not exist, ignoring")
        self._resolved[target] = found
        return found
