"""Attribute paths on the command line: `-A pkgs."a.b".0`.

Semantics: attr-path.cc of Nix 2.8. Used by commands and by profiles.
"""

from __future__ import annotations

from evaluator.core.calls import force_attrs
from evaluator.core.values import attribute_position, force, show_type
from evaluator.errors import NO_POS, EvalError, NixTypeError, ParseError, best_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState


class AttrPathNotFoundError(EvalError):
    """Nothing is at an attribute path."""


def parse_attr_path(text: str) -> list[str]:
    """Split at dots outside of double quotes.

    Raises:
        ParseError: a quote is missing.
    """
    parts: list[str] = []
    current = ""
    at = 0
    while at < len(text):
        char = text[at]
        if char == ".":
            parts.append(current)
            current = ""
        elif char == '"':
            end = text.find('"', at + 1)
            if end < 0:
                raise ParseError(f"missing closing quote in selection path '{text}'", NO_POS)
            current += text[at + 1 : end]
            at = end
        else:
            current += char
        at += 1
    if current:
        parts.append(current)
    return parts


def find_along_path(state: EvalState, path: str, auto_args: dict[str, object], root: object) -> tuple[object, int]:
    """Return the value at `path` below `root`, and the position at which it was defined.

    Functions on the way are called with `auto_args`; the value found is not.

    Raises:
        AttrPathNotFoundError: there is nothing.
        NixError: anything that evaluating the way raises.
    """
    value, pos = root, NO_POS
    for part in parse_attr_path(path):
        value = state.auto_call(force(value), auto_args)
        if part.isdigit() and part.isascii():
            if not isinstance(value, list):
                raise NixTypeError(
                    f"the expression selected by the selection path '{path}' should be a list "
                    f"but is {show_type(value)}",
                    NO_POS,
                )
            if int(part) >= len(value):
                raise AttrPathNotFoundError(f"list index {part} in selection path '{path}' is out of range", NO_POS)
            value = value[int(part)]
            continue
        if not isinstance(value, dict):
            raise NixTypeError(
                f"the expression selected by the selection path '{path}' should be a set but is {show_type(value)}",
                NO_POS,
            )
        if not part:
            raise EvalError(f"empty attribute name in selection path '{path}'", NO_POS)
        attrs = force_attrs(value)
        if part not in attrs:
            raise AttrPathNotFoundError(
                f"attribute '{part}' in selection path '{path}' not found", NO_POS, best_matches(attrs, part)
            )
        pos = attribute_position(attrs, part)
        value = attrs[part]
    return value, pos
