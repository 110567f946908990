"""Writing Nix values as XML, as `builtins.toXML` and `--xml` do.

Byte for byte the output of value-to-xml.cc and xml-writer.cc of Nix 2.8. NixOS writes its manual this way: tens of
thousands of elements in every evaluation of a system.
"""

import cython

from evaluator.core.text_buffer import TextBuffer
from evaluator.core.values import is_forced, peek
from evaluator.errors import NO_POS, EvalError

if not cython.compiled:
    from evaluator.core.calls import is_derivation
    from evaluator.core.values import (
        NULL,
        ContextString,
        Func,
        Path,
        Thunk,
        check_stack,
        force_thunk,
        make_string,
        position_of,
    )

# Every level costs two blanks on each line beneath it, so the text of a cycle would fill the memory quickly.
_WIDEST_INDENT = 2 * 4000


def put_quoted(out, text):
    """Append the text of an attribute, with its quotes."""
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
    out.put_byte(34)
    out.put(text)
    out.put_byte(34)
    return 0


@cython.cclass
class _Writer:
    def __init__(self, state, context, strict, location):
        self.out = TextBuffer()
        self.state = state
        self.context = context
        self.strict = strict
        self.location = location
        self.seen = set()

    def line(self, indent: cython.int, text: str):
        """Begin a line with so many blanks, and this."""
        out: TextBuffer = self.out
        out.put_blanks(indent)
        out.put(text)
        return 0

    def element(self, indent: cython.int, start: str, text: str):
        """A line with one attribute, which `start` ends with, and nothing in it."""
        self.line(indent, start)
        put_quoted(self.out, text)
        self.out.put(" />\n")
        return 0

    def open(self, indent: cython.int, tag: str, pos: cython.longlong, name: object):
        """The line that opens an element: where it is, if that is wanted, in alphabetical order around `name`."""
        out: TextBuffer = self.out
        where: object = self.state.positions.resolve(pos) if self.location else None
        self.line(indent, tag)
        if where is not None:
            out.put(f' column="{where.column}" line="{where.line}"')
        if name is not None:
            out.put(" name=")
            put_quoted(out, name)
        if where is not None:
            out.put(" path=")
            put_quoted(out, where.file)
        out.put(">\n")
        return 0

    def value(self, value, indent: cython.int):
        check_stack()
        if indent > _WIDEST_INDENT:
            raise EvalError("stack overflow; max-call-depth exceeded", NO_POS)
        if type(value) is Thunk:
            if self.strict:
                value = force_thunk(cython.cast(Thunk, value), -1)
            elif is_forced(value):
                value = peek(value)
            else:
                self.line(indent, "<unevaluated />\n")
                return
        if type(value) is str:
            self.element(indent, "<string value=", value)
        elif type(value) is ContextString:
            self.context.update(cython.cast(ContextString, value).context)
            self.element(indent, "<string value=", cython.cast(ContextString, value).text)
        elif type(value) is bool:
            self.line(indent, '<bool value="true" />\n' if value else '<bool value="false" />\n')
        elif type(value) is int:
            self.line(indent, '<int value="')
            self.out.put_int(value)
            self.out.put('" />\n')
        elif type(value) is float:
            self.line(indent, '<float value="')
            self.out.put_float(value)
            self.out.put('" />\n')
        elif type(value) is Path:
            self.element(indent, "<path value=", cython.cast(Path, value).path)
        elif value is NULL:
            self.line(indent, "<null />\n")
        elif type(value) is list:
            self.line(indent, "<list>\n")
            for item in cython.cast(list, value):
                self.value(item, indent + 2)
            self.line(indent, "</list>\n")
        elif isinstance(value, dict):
            if is_derivation(value):
                self.derivation(value, indent)
            else:
                self.line(indent, "<attrs>\n")
                self.attributes(value, indent + 2)
                self.line(indent, "</attrs>\n")
        elif type(value) is Func:
            self.function(value, indent)
        else:
            self.line(indent, "<unevaluated />\n")

    def attributes(self, attrs, indent: cython.int):
        for name in sorted(attrs):
            self.open(indent, "<attr", position_of(attrs, name) if self.location else 0, name)
            self.value(cython.cast(dict, attrs)[name], indent + 2)
            self.line(indent, "</attr>\n")

    def derivation(self, attrs, indent: cython.int):
        drv_path = ""
        self.line(indent, "<derivation")
        for name in ("drvPath", "outPath"):
            if name in attrs and (self.strict or is_forced(attrs[name])):
                path: object = attrs[name]
                if type(path) is Thunk:
                    path = force_thunk(cython.cast(Thunk, path), -1)
                if type(path) is ContextString:
                    path = cython.cast(ContextString, path).text
                if type(path) is str:
                    self.out.put(f" {name}=")
                    put_quoted(self.out, path)
                    if name == "drvPath":
                        drv_path = path
        self.out.put(">\n")
        if drv_path and drv_path not in self.seen:
            self.seen.add(drv_path)
            self.attributes(attrs, indent + 2)
        else:
            self.line(indent, "  <repeated />\n")
        self.line(indent, "</derivation>\n")

    def function(self, function, indent: cython.int):
        code: object = function.code
        self.open(indent, "<function", code.pos, None)
        formals = code.formals()
        name = code.argument_name()
        if formals is None:
            self.element(indent + 2, "<varpat name=", name or "")
        else:
            self.line(indent + 2, "<attrspat")
            if code.has_ellipsis():
                self.out.put(' ellipsis="1"')
            if name:
                self.out.put(" name=")
                put_quoted(self.out, name)
            self.out.put(">\n")
            for formal in sorted([formal[0] for formal in formals]):
                self.element(indent + 4, "<attr name=", formal)
            self.line(indent + 2, "</attrspat>\n")
        self.line(indent, "</function>\n")


def prim_toXML(state, value):
    """`toXML e`: *e* as XML text, for a builder that transforms it."""
    context: set = set()
    return make_string(value_to_xml(state, value, context, strict=True, location=False), context)


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
    writer.line(0, "<?xml version='1.0' encoding='utf-8'?>\n<expr>\n")
    writer.value(value, 2)
    writer.line(0, "</expr>\n")
    return writer.out.text()
