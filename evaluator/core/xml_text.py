"""Writing Nix values as XML, as `builtins.toXML` and `--xml` do.

Byte for byte the output of value-to-xml.cc and xml-writer.cc of Nix 2.8. NixOS writes its manual this way: tens of
thousands of elements in every evaluation of a system.
"""

import cython

if not cython.compiled:
    from evaluator.core.calls import is_derivation
    from evaluator.core.values import NULL, ContextString, Func, Path, Thunk, force_thunk, position_of

from evaluator.core.values import is_forced, peek
from evaluator.errors import NO_POS, EvalError

# Every level costs two blanks on each line beneath it, so the text of a cycle would fill the memory quickly.
_WIDEST_INDENT = 2 * 4000


def _quoted(text: str) -> str:
    """Return the text of an attribute, with its quotes."""
    if "&" in text:
        text = text.replace("&", "&amp;")
    if '"' in text:
        text = text.replace('"', "&quot;")
    if "<" in text:
        text = text.replace("<", "&lt;")
    if ">" in text:
        text = text.replace(">", "&gt;")
    if "\n" in text:
        text = text.replace("\n", "&#xA;")
    return '"' + text + '"'


@cython.cclass
class _Writer:
    def __init__(self, state, context, strict, location):
        self.out = ["<?xml version='1.0' encoding='utf-8'?>\n"]
        self.state = state
        self.context = context
        self.strict = strict
        self.location = location
        self.seen = set()

    def place(self, pos):
        """The attributes that say where something was defined, in alphabetical order around `name`: (before, after)."""
        where = self.state.positions.resolve(pos) if self.location else None
        if where is None:
            return "", ""
        return f' column="{where.column}" line="{where.line}"', f" path={_quoted(where.file)}"

    def value(self, value, indent: str):
        out: list = self.out
        if len(indent) > _WIDEST_INDENT:
            raise EvalError("stack overflow; max-call-depth exceeded", NO_POS)
        if type(value) is Thunk:
            if self.strict:
                value = force_thunk(cython.cast(Thunk, value), -1)
            elif is_forced(value):
                value = peek(value)
            else:
                out.append(indent + "<unevaluated />\n")
                return
        if type(value) is str:
            out.append(indent + "<string value=" + _quoted(value) + " />\n")
        elif type(value) is ContextString:
            self.context.update(cython.cast(ContextString, value).context)
            out.append(indent + "<string value=" + _quoted(cython.cast(ContextString, value).text) + " />\n")
        elif type(value) is bool:
            out.append(indent + ('<bool value="true" />\n' if value else '<bool value="false" />\n'))
        elif type(value) is int:
            out.append(f'{indent}<int value="{value}" />\n')
        elif type(value) is float:
            out.append(f'{indent}<float value="{value:g}" />\n')
        elif type(value) is Path:
            out.append(indent + "<path value=" + _quoted(cython.cast(Path, value).path) + " />\n")
        elif value is NULL:
            out.append(indent + "<null />\n")
        elif type(value) is list:
            out.append(indent + "<list>\n")
            for item in value:
                self.value(item, indent + "  ")
            out.append(indent + "</list>\n")
        elif isinstance(value, dict):
            if is_derivation(value):
                self.derivation(value, indent)
            else:
                out.append(indent + "<attrs>\n")
                self.attributes(value, indent + "  ")
                out.append(indent + "</attrs>\n")
        elif type(value) is Func:
            self.function(value, indent)
        else:
            out.append(indent + "<unevaluated />\n")

    def attributes(self, attrs, indent: str):
        out: list = self.out
        for name in sorted(attrs):
            before, after = self.place(position_of(attrs, name)) if self.location else ("", "")
            out.append(f"{indent}<attr{before} name={_quoted(name)}{after}>\n")
            self.value(attrs[name], indent + "  ")
            out.append(indent + "</attr>\n")

    def derivation(self, attrs, indent: str):
        described = []
        drv_path = ""
        for name in ("drvPath", "outPath"):
            if name in attrs and (self.strict or is_forced(attrs[name])):
                path: object = attrs[name]
                if type(path) is Thunk:
                    path = force_thunk(cython.cast(Thunk, path), -1)
                if type(path) is ContextString:
                    path = cython.cast(ContextString, path).text
                if type(path) is str:
                    described.append(f" {name}={_quoted(path)}")
                    if name == "drvPath":
                        drv_path = path
        self.out.append(f"{indent}<derivation{''.join(described)}>\n")
        if drv_path and drv_path not in self.seen:
            self.seen.add(drv_path)
            self.attributes(attrs, indent + "  ")
        else:
            self.out.append(indent + "  <repeated />\n")
        self.out.append(indent + "</derivation>\n")

    def function(self, function, indent: str):
        code: object = function.code
        before, after = self.place(code.pos) if self.location else ("", "")
        self.out.append(f"{indent}<function{before}{after}>\n")
        formals = code.formals()
        name = code.argument_name()
        if formals is None:
            self.out.append(f"{indent}  <varpat name={_quoted(name or '')} />\n")
        else:
            ellipsis = ' ellipsis="1"' if code.has_ellipsis() else ""
            named = f" name={_quoted(name)}" if name else ""
            self.out.append(f"{indent}  <attrspat{ellipsis}{named}>\n")
            for formal in sorted([formal[0] for formal in formals]):
                self.out.append(f"{indent}    <attr name={_quoted(formal)} />\n")
            self.out.append(f"{indent}  </attrspat>\n")
        self.out.append(indent + "</function>\n")


def value_to_xml(state, value, context, *, strict, location):
    """Return a value as an XML document.

    Args:
        state: the evaluation.
        value: any value.
        context: gets what the strings in it depend on.
        strict: evaluate everything; otherwise what is not evaluated yet is shown as such.
        location: say where attributes and functions were defined.
    """
    writer: _Writer = _Writer(state, context, strict, location)
    writer.out.append("<expr>\n")
    writer.value(value, "  ")
    writer.out.append("</expr>\n")
    return "".join(writer.out)
