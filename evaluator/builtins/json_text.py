"""Writing Nix values as JSON, as `builtins.toJSON`, `--json` and `__structuredAttrs` do.

Byte for byte the output of value-to-json.cc and json.cc of Nix 2.8, since it becomes part of derivations: attributes in
bytewise order, only quotes, backslashes and control characters escaped, numbers as C++ streams print them.
"""

from __future__ import annotations

from evaluator.core.calls import call1, coerce
from evaluator.core.values import (
    NULL,
    ContextString,
    Path,
    attribute_position,
    force,
    show_type,
)
from evaluator.errors import CALL_SITE, NO_POS, EvalError, NixError, NixTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState

_MOST_LEVELS = 10_000
_ESCAPES = {code: f"\\u{code:04x}" for code in range(32)} | {
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}


def write_string(text: str) -> str:
    """Return a string literal of JSON."""
    return '"' + text.translate(_ESCAPES) + '"'


def write_float(number: float) -> str:
    """Return a float as a C++ stream prints it: six significant digits."""
    return f"{number:g}"


def value_to_json(state: EvalState, value: object, context: set[str], out: list[str], depth: int = 0) -> None:
    """Append the JSON text of a value to `out`, in pieces. Evaluates everything in it.

    Args:
        state: the evaluation.
        value: any value without functions.
        context: gets what the strings in it depend on.
        out: gets the text.
        depth: how many lists and sets it is inside of; more than 10 000 are refused, as any reader would.
    """
    forced = force(value)
    kind = type(forced)
    if kind is str:
        out.append(write_string(forced))  # type: ignore[arg-type]
    elif kind is bool:
        out.append("true" if forced else "false")
    elif kind is int:
        out.append(str(forced))
    elif kind is float:
        out.append(write_float(forced))  # type: ignore[arg-type]
    elif isinstance(forced, ContextString):
        context.update(forced.context)
        out.append(write_string(forced.text))
    elif isinstance(forced, Path):
        out.append(write_string(state.copy_path_to_store(forced.path, context)))
    elif forced is NULL:
        out.append("null")
    elif isinstance(forced, list):
        _list(state, forced, context, out, _deeper(depth))
    elif isinstance(forced, dict):
        _attrs(state, forced, context, out, _deeper(depth))
    else:
        raise NixTypeError(f"cannot convert {show_type(forced)} to JSON")


def _deeper(depth: int) -> int:
    if depth >= _MOST_LEVELS:
        raise EvalError("stack overflow; max-call-depth exceeded", NO_POS)
    return depth + 1


def _list(state: EvalState, items: list[object], context: set[str], out: list[str], depth: int) -> None:
    separator = "["
    for index, item in enumerate(items):
        out.append(separator)
        separator = ","
        try:
            value_to_json(state, item, context, out, depth)
        except NixError as error:
            error.add_trace(CALL_SITE, f"while evaluating list element at index {index}")
            raise
    out.append("]" if items else "[]")


def _attrs(state: EvalState, attrs: dict[str, object], context: set[str], out: list[str], depth: int) -> None:
    to_string = attrs.get("__toString")
    if to_string is not None:
        text = call1(force(to_string), attrs)
        out.append(write_string(coerce(state, text, context, False, False)))
        return
    if "outPath" in attrs:
        value_to_json(state, attrs["outPath"], context, out, depth)
        return
    separator = "{"
    for name in sorted(attrs):
        out.append(separator)
        separator = ","
        out.append(write_string(name))
        out.append(":")
        try:
            value_to_json(state, attrs[name], context, out, depth)
        except NixError as error:
            error.add_trace(attribute_position(attrs, name), f"while evaluating attribute '{name}'")
            raise
    out.append("}" if attrs else "{}")
