"""Printing values as `--eval`, `builtins.trace`, the repl and error messages do, without evaluating anything.

The form is that of `operator << (Value)` in eval.cc of Nix 2.8, which scripts parse: `{ a = 1; b = <CODE>; }`. In
messages it is that of current Nix, cut short.
"""

from __future__ import annotations

from evaluator.core.values import NULL, ContextString, Func, Path, PrimOp, force, is_running, peek
from evaluator.names import show_string as show_old_string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from evaluator.source import Positions

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


class _Style:
    """What stands for an expression, a function, a builtin, a builtin with some of its arguments; how names look."""

    __slots__ = ("app", "code", "function", "lazy", "name", "primop")

    def __init__(self, code: str, function: str, primop: str, app: str, name: Callable[[str], str], lazy: bool) -> None:
        self.code = code
        self.function = function
        self.primop = primop
        self.app = app
        self.name = name
        self.lazy = lazy


def _old_name(name: str) -> str:
    """As `show_name`, with every dollar escaped, as 2.8 has it; keywords are quoted, which it forgets."""
    shown = show_name(name)
    return shown if shown == name else show_old_string(name)


def show_value(value: object, lazy: bool = False) -> str:
    """Return a value as text; what is not evaluated yet is `<CODE>`, what was shown before `«repeated»`.

    `lazy`: nothing in it was evaluated on purpose. Nix then has expressions where we have functions and empty lists
    already, because these take no work to make: they are shown as such.
    """
    out: list[str] = []
    _show(peek(value), out, set(), _Style("<CODE>", "<LAMBDA>", "<PRIMOP>", "<PRIMOP-APP>", _old_name, lazy))
    return "".join(out)


def show_for_people(value: object) -> str:
    """Return a value as `builtins.trace` prints it: `«thunk»` and `«lambda»` can't be taken for expressions."""
    out: list[str] = []
    style = _Style("«thunk»", "«lambda»", "«primop»", "«partially applied primop»", show_name, False)
    _show(peek(value), out, set(), style)
    return "".join(out)


def _show(value: object, out: list[str], seen: set[int], style: _Style) -> None:
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
    elif isinstance(value, (list, dict)):
        if value and id(value) in seen:
            out.append("«repeated»")
            return
        seen.add(id(value))
        if isinstance(value, list):
            _show_list(value, out, seen, style)
        else:
            _show_attrs(value, out, seen, style)
    elif isinstance(value, Func):
        out.append(style.function)
    elif isinstance(value, PrimOp):
        out.append(style.app if value.args else style.primop)
    else:
        out.append("«potential infinite recursion»" if is_running(value) else style.code)


def _show_list(items: list[object], out: list[str], seen: set[int], style: _Style) -> None:
    out.append("[ ")
    for item in items:
        member = peek(item)
        if style.lazy and isinstance(member, Func):
            out.append(style.code)
        else:
            _show(member, out, seen, style)
        out.append(" ")
    out.append("]")


def _show_attrs(attrs: dict[str, object], out: list[str], seen: set[int], style: _Style) -> None:
    out.append("{ ")
    # A builtin's result is a set without positions, and the lists in it are evaluated.
    written = style.lazy and type(attrs) is not dict
    if "currentTime" in attrs and attrs.get("builtins") is attrs:
        force(attrs["currentTime"])  # `builtins` itself, in which Nix has the number
    for name in sorted(attrs):
        out.append(style.name(name) + " = ")
        member = peek(attrs[name])
        if style.lazy and (isinstance(member, Func) or (written and member == [])):
            out.append(style.code)
        else:
            _show(member, out, seen, style)
        out.append("; ")
    out.append("}")


#: How much of a value a message shows: levels; attributes and list elements in all; characters of a string.
_MOST_LEVELS = 10
_MOST_MEMBERS = 10
_LONGEST_STRING = 1024


def show_in_message(value: object, positions: Positions) -> str:
    """Return the beginning of a value as text for an error message; `positions` tells where functions come from."""
    return _Excerpt(positions).show(value, 0)


class _Excerpt:
    """Counts what was shown of one value."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self._attributes = 0
        self._items = 0

    def show(self, value: object, depth: int) -> str:
        value = peek(value)
        if isinstance(value, (str, ContextString)):
            return _beginning(value if isinstance(value, str) else value.text)
        if isinstance(value, list):
            return self._list(value, depth)
        if isinstance(value, dict):
            return self._attrs(value, depth)
        if isinstance(value, Func):
            code = value.code  # type: ignore[attr-defined]
            name = f" {code.name}" if code.name else ""
            return f"«lambda{name} @ {self._positions.show(code.pos)}»"
        if isinstance(value, PrimOp):
            return f"«partially applied primop {value.name}»" if value.args else f"«primop {value.name}»"
        return show_for_people(value)

    def _list(self, items: list[object], depth: int) -> str:
        if depth >= _MOST_LEVELS:
            return "[ ... ]"
        shown = []
        for index, item in enumerate(items):
            if self._items >= _MOST_MEMBERS:
                shown.append(_elided(len(items) - index, "item"))
                break
            shown.append(self.show(item, depth + 1))
            self._items += 1
        return " ".join(["[", *shown, "]"])

    def _attrs(self, attrs: dict[str, object], depth: int) -> str:
        if depth >= _MOST_LEVELS:
            return "{ ... }"
        shown = []
        # What a set is, is said by its type if it has one.
        for index, name in enumerate(sorted(attrs, key=lambda name: (name not in {"type", "_type"}, name))):
            if self._attributes >= _MOST_MEMBERS:
                shown.append(_elided(len(attrs) - index, "attribute"))
                break
            shown.append(f"{show_name(name)} = {self.show(attrs[name], depth + 1)};")
            self._attributes += 1
        return " ".join(["{", *shown, "}"])


def _beginning(text: str) -> str:
    if len(text) <= _LONGEST_STRING:
        return show_string(text)
    return f"{show_string(text[:_LONGEST_STRING])} {_elided(len(text) - _LONGEST_STRING, 'byte')}"


def _elided(count: int, what: str) -> str:
    return f"«{count} {what}{'' if count == 1 else 's'} elided»"
