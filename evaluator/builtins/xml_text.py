"""Writing Nix values as XML, as `builtins.toXML` and `--xml` do.

Byte for byte the output of value-to-xml.cc and xml-writer.cc of Nix 2.8.
"""

from __future__ import annotations

from evaluator.core.calls import is_derivation
from evaluator.core.values import (
    NULL,
    ContextString,
    Func,
    Path,
    attribute_position,
    force,
    is_forced,
    peek,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState

_ESCAPES = str.maketrans({'"': "&quot;", "<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": "&#xA;"})


class _Writer:
    def __init__(self, state: EvalState, context: set[str], strict: bool, location: bool) -> None:
        self.out = ["<?xml version='1.0' encoding='utf-8'?>\n"]
        self.depth = 0
        self.state = state
        self.context = context
        self.strict = strict
        self.location = location
        self.seen: set[str] = set()

    def tag(self, name: str, attributes: dict[str, str], end: str) -> None:
        parts = "".join([f' {key}="{attributes[key].translate(_ESCAPES)}"' for key in sorted(attributes)])
        self.out.append(f"{'  ' * self.depth}<{name}{parts}{end}\n")

    def empty(self, tag: str, **attributes: str) -> None:
        self.tag(tag, attributes, " />")

    def open(self, name: str, attributes: dict[str, str]) -> None:
        self.tag(name, attributes, ">")
        self.depth += 1

    def close(self, name: str) -> None:
        self.depth -= 1
        self.out.append(f"{'  ' * self.depth}</{name}>\n")

    def place(self, pos: int) -> dict[str, str]:
        where = self.state.positions.resolve(pos) if self.location else None
        if where is None:
            return {}
        return {"path": where.file, "line": str(where.line), "column": str(where.column)}

    def value(self, value: object) -> None:
        if self.strict:
            forced = force(value)
        elif is_forced(value):
            forced = peek(value)
        else:
            self.empty("unevaluated")
            return
        kind = type(forced)
        if kind is int:
            self.empty("int", value=str(forced))
        elif kind is bool:
            self.empty("bool", value="true" if forced else "false")
        elif kind is str:
            self.empty("string", value=forced)  # type: ignore[arg-type]
        elif isinstance(forced, ContextString):
            self.context.update(forced.context)
            self.empty("string", value=forced.text)
        elif isinstance(forced, Path):
            self.empty("path", value=forced.path)
        elif forced is NULL:
            self.empty("null")
        elif kind is float:
            self.empty("float", value=f"{forced:g}")
        elif isinstance(forced, list):
            self.open("list", {})
            for item in forced:
                self.value(item)
            self.close("list")
        elif isinstance(forced, dict):
            if is_derivation(forced):
                self.derivation(forced)
            else:
                self.open("attrs", {})
                self.attributes(forced)
                self.close("attrs")
        elif isinstance(forced, Func):
            self.function(forced)
        else:
            self.empty("unevaluated")

    def attributes(self, attrs: dict[str, object]) -> None:
        for name in sorted(attrs):
            self.open("attr", {"name": name, **self.place(attribute_position(attrs, name))})
            self.value(attrs[name])
            self.close("attr")

    def derivation(self, attrs: dict[str, object]) -> None:
        described = {}
        for name in ("drvPath", "outPath"):
            if name in attrs and (self.strict or is_forced(attrs[name])):
                path = force(attrs[name])
                if isinstance(path, (str, ContextString)):
                    described[name] = path if isinstance(path, str) else path.text
        self.open("derivation", described)
        drv_path = described.get("drvPath", "")
        if drv_path and drv_path not in self.seen:
            self.seen.add(drv_path)
            self.attributes(attrs)
        else:
            self.empty("repeated")
        self.close("derivation")

    def function(self, function: Func) -> None:
        code = function.code
        self.open("function", self.place(code.pos))
        formals = code.formals()
        if formals is None:
            self.empty("varpat", name=code.argument_name() or "")
        else:
            described = {}
            if code.argument_name():
                described["name"] = code.argument_name()
            if code.has_ellipsis():
                described["ellipsis"] = "1"
            self.open("attrspat", described)
            for name in sorted(formal[0] for formal in formals):
                self.empty("attr", name=name)
            self.close("attrspat")
        self.close("function")


def value_to_xml(state: EvalState, value: object, context: set[str], *, strict: bool, location: bool) -> str:
    """Return a value as an XML document.

    Args:
        state: the evaluation.
        value: any value.
        context: gets what the strings in it depend on.
        strict: evaluate everything; otherwise what is not evaluated yet is shown as such.
        location: say where attributes and functions were defined.
    """
    writer = _Writer(state, context, strict, location)
    writer.open("expr", {})
    writer.value(value)
    writer.close("expr")
    return "".join(writer.out)
