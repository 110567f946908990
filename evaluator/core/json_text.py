"""`toJSON`: writing Nix values as JSON, as `builtins.toJSON`, `--json` and `__structuredAttrs` do.

Byte for byte the output of value-to-json.cc and json.cc of Nix 2.8, since it becomes part of derivations: attributes in
bytewise order, only quotes, backslashes and control characters escaped, numbers as C++ streams print them.
"""

import cython

from evaluator.core.text_buffer import TextBuffer
from evaluator.errors import CALL_SITE, NO_POS, EvalError, NixError, NixTypeError, Shown

if cython.compiled:
    from cython.cimports.cpython.unicode import PyUnicode_1BYTE_DATA
    from cython.cimports.evaluator.core.ascii import is_ascii
else:
    from evaluator.core.calls import call1, coerce
    from evaluator.core.text_buffer import AS_NUMBER
    from evaluator.core.values import (
        NULL,
        ContextString,
        Path,
        Thunk,
        check_stack,
        force_thunk,
        make_string,
        position_of,
        show_type,
    )

_MOST_LEVELS = 10_000


def _escapes() -> bytes:
    """For every byte: 0, the letter behind its backslash, or AS_NUMBER."""
    table = bytearray([AS_NUMBER] * 32 + [0] * 224)
    for byte, letter in zip(b'"\\\n\r\t', b'"\\nrt', strict=True):
        table[byte] = letter
    return bytes(table)


_ESCAPES = _escapes()
_escape = _ESCAPES


def write_string(text: str) -> str:
    """Return a string literal of JSON."""
    out: TextBuffer = TextBuffer()
    put_string(out, text)
    return out.text()


def put_string(out, text):
    """Append a string literal of JSON."""
    raw: bytes
    if cython.compiled and is_ascii(text):
        return out.put_literal(PyUnicode_1BYTE_DATA(text), len(text), _escape)
    raw = _utf8(text)
    return out.put_literal(raw, len(raw), _escape)


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        at: object = len(text[: error.start].encode("utf-8"))
        byte: object = ord(text[error.start]) & 0xFF
        raise EvalError(
            f"JSON serialization error: [json.exception.type_error.316] invalid UTF-8 byte at index {at}: 0x{byte:02X}",
            NO_POS,
        ) from None


def prim_toJSON(state, value):
    """`toJSON e`: *e* as JSON text.

    A derivation becomes the string of its output path, a path is copied to the store and becomes its store path.
    """
    context: set = set()
    return make_string(value_to_json(state, value, context), context)


def value_to_json(state, value, context: set) -> str:
    """Return the JSON text of a value. Evaluates everything in it and copies paths to the store.

    Args:
        state: the evaluation.
        value: any value without functions, of at most 10 000 levels, which is more than any reader takes.
        context: gets what the strings in it depend on.
    """
    writer: _Writer = _Writer(state, context)
    writer.value(value, 0)
    return writer.out.text()


@cython.final
@cython.cclass
class _Writer:
    """Writes one value."""

    def __init__(self, state, context):
        self.state = state
        self.context = context
        self.out = TextBuffer()

    def value(self, value, depth: cython.int):
        """Write a value that is inside of `depth` lists and sets."""
        out: TextBuffer = self.out
        if type(value) is Thunk:
            value = force_thunk(cython.cast(Thunk, value), -1)
        if type(value) is str:
            put_string(out, value)
        elif type(value) is int:
            out.put_int(value)
        elif type(value) is list or isinstance(value, dict):
            check_stack()  # an `ulimit -v` leaves less of it than so many levels need
            if depth >= _MOST_LEVELS:
                raise EvalError("stack overflow; max-call-depth exceeded", NO_POS)
            if type(value) is list:
                self.items(value, depth + 1)
            elif "__toString" in value or "outPath" in value:
                self.text_of(value, depth + 1)
            else:
                self.attrs(value, depth + 1)
        elif type(value) is ContextString:
            self.context.update(cython.cast(ContextString, value).context)
            put_string(out, cython.cast(ContextString, value).text)
        elif type(value) is bool:
            out.put("true" if value else "false")
        elif type(value) is float:
            out.put_float(value)
        elif value is NULL:
            out.put("null")
        elif type(value) is Path:
            path: str = cython.cast(Path, value).path
            put_string(out, self.state.copy_path_to_store(path, self.context))
        else:
            raise NixTypeError(f"cannot convert {show_type(value)} to JSON")

    def items(self, items: list, depth: cython.int):
        out: TextBuffer = self.out
        index: cython.Py_ssize_t = 0
        out.put_byte(91)
        try:
            for index in range(len(items)):
                if index:
                    out.put_byte(44)
                item: object = items[index]
                if type(item) is Thunk:  # the value takes the place of its thunk, whose memory is used again
                    item = items[index] = force_thunk(cython.cast(Thunk, item), -1)
                self.value(item, depth)
        except NixError as error:
            error.add_trace(CALL_SITE, f"while evaluating list element at index {index}")
            raise
        out.put_byte(93)

    def attrs(self, attrs, depth: cython.int):
        out: TextBuffer = self.out
        first: cython.bint = True
        name: object = None
        out.put_byte(123)
        try:
            for name in sorted(attrs):
                if not first:
                    out.put_byte(44)
                first = False
                put_string(out, name)
                out.put_byte(58)
                item: object = cython.cast(dict, attrs)[name]
                if type(item) is Thunk:
                    item = cython.cast(dict, attrs)[name] = force_thunk(cython.cast(Thunk, item), -1)
                self.value(item, depth)
        except NixError as error:
            where: object = position_of(attrs, name)
            error.settle(where)
            error.add_trace(where, f"while evaluating attribute '{name}'")
            raise
        out.put_byte(125)

    def text_of(self, attrs, depth: cython.int):
        """Write a set that stands for a string; Nix 2.8 does not copy a path that `__toString` returns."""
        value: object = attrs.get("__toString")
        where: object
        if value is None:
            where = position_of(attrs, "outPath")
            value = attrs["outPath"]
            try:
                if type(value) is Thunk:
                    value = force_thunk(cython.cast(Thunk, value), where)
                self.value(value, depth)
            except NixError as error:
                error.add_trace(where, "while using the `outPath` attribute")
                raise
            return
        where = position_of(attrs, "__toString")
        try:
            if type(value) is Thunk:
                value = force_thunk(cython.cast(Thunk, value), where)
            value = call1(value, attrs, where)
        except NixError as error:
            error.add_trace(where, "while calling the `__toString` attribute")
            raise
        try:
            if type(value) is not str and type(value) is not ContextString and type(value) is not Path:
                if not isinstance(value, dict):
                    message: str = "`__toString` should return a string, but got " + show_type(value) + ": "
                    raise NixTypeError((message, Shown(value)), where)
                if "__toString" not in value and "outPath" not in value:
                    raise NixTypeError(("`__toString` must return a string, but got a set: ", Shown(value)), where)
            put_string(self.out, coerce(self.state, value, self.context, False, False))
        except NixError as error:
            error.add_trace(where, "while using the result of the `__toString` attribute")
            raise
