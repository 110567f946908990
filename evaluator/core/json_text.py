"""Writing Nix values as JSON, as `builtins.toJSON`, `--json` and `__structuredAttrs` do.

Byte for byte the output of value-to-json.cc and json.cc of Nix 2.8, since it becomes part of derivations: attributes in
bytewise order, only quotes, backslashes and control characters escaped, numbers as C++ streams print them.
"""

import cython

from evaluator.errors import CALL_SITE, NO_POS, EvalError, NixError, NixTypeError, Shown

if not cython.compiled:
    from evaluator.core.calls import call1, coerce
    from evaluator.core.values import (
        NULL,
        ContextString,
        Path,
        Thunk,
        force_thunk,
        position_of,
        show_type,
    )

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
    if text.isprintable() and '"' not in text and "\\" not in text:
        return '"' + text + '"'
    if not text.isascii():
        _check_utf8(text)
    return '"' + text.translate(_ESCAPES) + '"'


def _check_utf8(text: str):
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        at: object = len(text[: error.start].encode("utf-8"))
        byte: object = ord(text[error.start]) & 0xFF
        raise EvalError(
            f"JSON serialization error: [json.exception.type_error.316] invalid UTF-8 byte at index {at}: 0x{byte:02X}",
            NO_POS,
        ) from None


def write_float(number: float) -> str:
    """Return a float as a C++ stream prints it: six significant digits."""
    return f"{number:g}"


def value_to_json(state, value, context: set, out: list):
    """Append the JSON text of a value to `out`, in pieces. Evaluates everything in it and copies paths to the store.

    Args:
        state: the evaluation.
        value: any value without functions, of at most 10 000 levels, which is more than any reader takes.
        context: gets what the strings in it depend on.
        out: gets the text.
    """
    writer: _Writer = _Writer(state, context, out)
    writer.value(value, 0)


@cython.final
@cython.cclass
class _Writer:
    """Writes one value. `names` has the names of attributes as they are written: few, and the same again and again."""

    def __init__(self, state, context, out):
        self.state = state
        self.context = context
        self.out = out
        self.names = {}

    def value(self, value, depth: cython.int):
        """Write a value that is inside of `depth` lists and sets."""
        out: list = self.out
        if type(value) is Thunk:
            value = force_thunk(cython.cast(Thunk, value), -1)
        if type(value) is str:
            out.append(write_string(value))
        elif type(value) is int:
            out.append(str(value))
        elif type(value) is list or isinstance(value, dict):
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
            out.append(write_string(cython.cast(ContextString, value).text))
        elif type(value) is bool:
            out.append("true" if value else "false")
        elif type(value) is float:
            out.append(write_float(value))
        elif value is NULL:
            out.append("null")
        elif type(value) is Path:
            path: str = cython.cast(Path, value).path
            out.append(write_string(self.state.copy_path_to_store(path, self.context)))
        else:
            raise NixTypeError(f"cannot convert {show_type(value)} to JSON")

    def items(self, items: list, depth: cython.int):
        index: cython.Py_ssize_t = 0
        try:
            for item in items:
                self.out.append("," if index else "[")
                self.value(item, depth)
                index += 1
        except NixError as error:
            error.add_trace(CALL_SITE, f"while evaluating list element at index {index}")
            raise
        self.out.append("]" if items else "[]")

    def attrs(self, attrs, depth: cython.int):
        out: list = self.out
        first: cython.bint = True
        name: object = None
        try:
            for name in sorted(attrs):
                written: object = self.names.get(name)
                if written is None:
                    written = self.names[name] = "," + write_string(name) + ":"
                if first:
                    out.append("{" + written[1:])
                    first = False
                else:
                    out.append(written)
                self.value(attrs[name], depth)
        except NixError as error:
            where: object = position_of(attrs, name)
            error.settle(where)
            error.add_trace(where, f"while evaluating attribute '{name}'")
            raise
        out.append("{}" if first else "}")

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
            self.out.append(write_string(coerce(self.state, value, self.context, False, False)))
        except NixError as error:
            error.add_trace(where, "while using the result of the `__toString` attribute")
            raise


def from_python(value, check_strings: cython.bint):
    """Return what a JSON parser made of a document as a Nix value; lists and dicts are changed in place.

    `check_strings`: look for characters that no Nix string can hold, which only escapes in the document can make.
    Raises EvalError for those, and for integers between 2**63 and 2**64; larger ones become floats, as in Nix.
    """
    i: cython.Py_ssize_t
    if value is None:
        return NULL
    if type(value) is str:
        return check_text(value) if check_strings else value
    if type(value) is list:
        for i in range(len(cython.cast(list, value))):
            item: object = cython.cast(list, value)[i]
            if type(item) is not bool and type(item) is not float:
                cython.cast(list, value)[i] = from_python(item, check_strings)
        return value
    if type(value) is dict:
        for name in value:
            if check_strings:
                check_text(name)
            member: object = value[name]
            if type(member) is not bool and type(member) is not float:
                value[name] = from_python(member, check_strings)
        return value
    if type(value) is int and not -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        if 0 < value < 0x10000000000000000:
            raise EvalError(f"unsigned json number {value} outside of Nix integer range", NO_POS)
        return float(value)
    return value


def check_text(text: str) -> str:
    """Return `text` if a Nix string can hold it; EvalError otherwise."""
    if "\0" in text:
        shown = text.replace("\0", "␀")
        raise EvalError(
            f"input string '{shown}' cannot be represented as Nix string because it contains null bytes", NO_POS
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise EvalError("invalid JSON: a string contains half of a surrogate pair", NO_POS) from None
    return text
