"""Printing values as `--eval`, `builtins.trace` and the repl do, without evaluating anything.

The form is that of `operator << (Value)` in eval.cc of Nix 2.8, which scripts parse: `{ a = 1; b = <CODE>; }`.
"""

from __future__ import annotations

from evaluator.core.values import NULL, ContextString, Func, Path, PrimOp, is_running, peek

_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})

_NAME_START = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_NAME = _NAME_START | frozenset("0123456789-'")
# What stands for an expression, a function, a builtin, a builtin with some of its arguments.
_PLAIN = ("<CODE>", "<LAMBDA>", "<PRIMOP>", "<PRIMOP-APP>")
_MARKED = ("«thunk»", "«lambda»", "«primop»", "«partially applied primop»")
_KEYWORDS = frozenset(["assert", "else", "if", "in", "inherit", "let", "rec", "then", "with"])


def show_string(text: str) -> str:
    """Return `text` as a string literal of the language."""
    return '"' + text.translate(_ESCAPES).replace("${", "\\${") + '"'


def show_name(name: str) -> str:
    """Return an attribute's name as it has to be written: quoted unless it is an identifier and no keyword."""
    if name[:1] in _NAME_START and _NAME.issuperset(name) and name not in _KEYWORDS:
        return name
    return show_string(name)


def show_value(value: object) -> str:
    """Return a value as text; what is not evaluated yet is `<CODE>`, what was shown before `«repeated»`."""
    out: list[str] = []
    _show(peek(value), out, set(), _PLAIN)
    return "".join(out)


def show_for_people(value: object) -> str:
    """Return a value as `builtins.trace` prints it: `«thunk»` and `«lambda»` can't be taken for expressions."""
    out: list[str] = []
    _show(peek(value), out, set(), _MARKED)
    return "".join(out)


def _show(value: object, out: list[str], seen: set[int], words: tuple[str, str, str, str]) -> None:
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
            _show(peek(item), out, seen, words)
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
            _show(peek(value[name]), out, seen, words)
            out.append("; ")
        out.append("}")
    elif isinstance(value, Func):
        out.append(words[1])
    elif isinstance(value, PrimOp):
        out.append(words[3] if value.args else words[2])
    else:
        out.append("«potential infinite recursion»" if is_running(value) else words[0])
