"""From values to files: what a builtin does before it may read what a string or a path names.

A string that depends on a derivation names something that must be built first (import from derivation). Semantics:
`realiseContext` and `realisePath` in primops.cc of Nix 2.8. Used by the other files of this folder.
"""

from __future__ import annotations

import os

from evaluator.core.values import Path, force
from evaluator.errors import CALL_SITE, NO_POS, EvalError, NixError
from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from evaluator.core.state import EvalState


class InvalidPathError(EvalError):
    """A store path that something depends on is not valid."""

    def __init__(self, path: str) -> None:
        super().__init__(f"path '{path}' is not valid", NO_POS)
        self.path = path


def canonical(path: str) -> str:
    """Return an absolute path without `.`, `..`, double and trailing slashes; no link is looked at."""
    normal = os.path.normpath(path)
    return normal[1:] if normal.startswith("//") else normal


def realise_context(state: EvalState, context: Iterable[str]) -> dict[str, str]:
    """Make everything in `context` valid, building it if need be. Blocks for as long as that takes.

    Returns:
        placeholders of outputs whose paths were not known -> their paths; usually empty.

    Raises:
        InvalidPathError: a source path or a derivation is not valid.
        EvalError: something must be built and that is not allowed, or it failed.
    """
    io = state.io
    wanted: dict[str, set[str]] = {}
    for element in sorted(context):
        if element[0] == "!":
            output, _, path = element[1:].partition("!")
            wanted.setdefault(path, set()).add(output)
        else:
            path = element.removeprefix("=")
        if not io.is_valid(path):
            raise InvalidPathError(path)
    if not wanted:
        return {}
    if not state.settings.allow_import_from_derivation:
        raise EvalError(
            f"cannot build '{min(wanted)}' during evaluation because the option 'allow-import-from-derivation' "
            "is disabled",
            NO_POS,
        )
    try:
        return io.realise(wanted)
    except NixError:
        raise
    except StoreError as error:
        failure = EvalError(str(error), NO_POS)
        failure.exit_code = error.exit_code
        raise failure from None


def rewrite(text: str, rewrites: dict[str, str]) -> str:
    """Replace placeholders by the paths that they stand for."""
    for placeholder, path in rewrites.items():
        text = text.replace(placeholder, path)
    return text


def realise_text(state: EvalState, text: str, context: Iterable[str]) -> str:
    """Return `text` when everything it depends on is valid. Errors as `realise_context`."""
    return rewrite(text, realise_context(state, context)) if context else text


def realise_path(state: EvalState, value: object) -> str:
    """Return the absolute path that `value` (a path, a string, a derivation) names, after making it valid."""
    forced = force(value)
    if type(forced) is Path:
        return canonical(forced.path)
    context: set[str] = set()
    path = state.coerce_to_path(forced, context, "while realising the context of a path")
    try:
        return canonical(realise_text(state, path, context))
    except NixError as error:
        error.add_trace(CALL_SITE, f"while realising the context of path '{path}'")
        raise


def read_file(state: EvalState, path: str) -> bytes:
    """Return the content of a file; EvalError where the system refuses."""
    try:
        return state.io.read_file(path)
    except FileNotFoundError:
        raise EvalError(f"path '{path}' does not exist", NO_POS) from None
    except OSError as error:
        raise EvalError(f"opening file '{path}': {error.strerror}", NO_POS) from None


def references_of(state: EvalState, path: str) -> list[str]:
    """Return the references of the store path that `path` lies in; none if it lies in none or that is not valid."""
    directory = state.io.directory
    if not directory.is_in_store(path):
        return []
    store_path = directory.maybe_parse("/".join(path.split("/")[: directory.path.count("/") + 2]))
    if store_path is None:
        return []
    return state.io.references(directory.print(store_path)) or []
