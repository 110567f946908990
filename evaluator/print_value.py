"""Printing values as `--eval`, `builtins.trace` and the repl do, without evaluating anything.

The form is that of `operator << (Value)` in eval.cc of Nix 2.8, which scripts parse: `{ a = 1; b = <CODE>; }`.
"""

from __future__ import annotations

from evaluator.core.values import NULL, ContextString, Func, Path, PrimOp, is_running, peek

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState

_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})

_NAME_START = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_NAME = _NAME_START | frozenset("0123456789-'")
_KEYWORDS = frozenset(["assert", "else", "if", "in", "inherit", "let", "rec", "then", "with"])


def show_string(text: str) -> str:
    """Return `text` as a string literal of the language."""
    return '"' + text.translate(_ESCAPES).replace("${", "\\${") + '"'


def show_name(name: str) -> str:
    """Return an attribute's name as it has to be written: quoted unless it is an identifier and no keyword."""
    if name[:1] in _NAME_START and _NAME.issuperset(name) and name not in _KEYWORDS:
        return name
    return show_string(name)


def show_value(state: EvalState | None, value: object) -> str:
    """Return a value as text; what is not evaluated yet is `<CODE>`, what was shown before `«repeated»`."""
    out: list[str] = []
    _show(peek(value), out, set())
    return "".join(out)


def _show(value: object, out: list[str], seen: set[int]) -> None:
    kind = type(value)
    if kind is bool:
        out.append("true" if value else "false")
    elif kind is str:
        out.append(show_string(value))  # type: ignore[arg-type]
    elif kind is int:
        out.append(str(value))
    elif kind is float:
        out.append(f"{value:g}")
    elif isinstance(value, ContextString):
        out.append(show_string(value.text))
    elif isinstance(value, Path):
        out.append(value.path)
    elif value is NULL:
        out.append("null")
    elif isinstance(value, list):
        if value and id(value) in seen:
            out.append("«repeated»")
            return
        seen.add(id(value))
        out.append("[ ")
        for item in value:
            _show(peek(item), out, seen)
            out.append(" ")
        out.append("]")
    elif isinstance(value, dict):
        if value and id(value) in seen:
            out.append("«repeated»")
            return
        seen.add(id(value))
        out.append("{ ")
        for name in sorted(value):
            out.append(show_name(name) + " = ")
            _show(peek(value[name]), out, seen)
            out.append("; ")
        out.append("}")
    elif isinstance(value, Func):
        out.append("<LAMBDA>")
    elif isinstance(value, PrimOp):
        out.append("<PRIMOP-APP>" if value.args else "<PRIMOP>")
    else:
        out.append("«potential infinite recursion»" if is_running(value) else "<CODE>")
