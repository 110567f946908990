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


def value_to_json(state, value, context: set, out: list, depth: cython.int = 0):
    """Append the JSON text of a value to `out`, in pieces. Evaluates everything in it and copies paths to the store.

    Args:
        state: the evaluation.
        value: any value without functions.
        context: gets what the strings in it depend on.
        out: gets the text.
        depth: how many lists and sets it is inside of; more than 10 000 are refused, as any reader would.
    """
    if type(value) is Thunk:
        value = force_thunk(cython.cast(Thunk, value), -1)
    if type(value) is str:
        out.append(write_string(value))
    elif type(value) is ContextString:
        context.update(cython.cast(ContextString, value).context)
        out.append(write_string(cython.cast(ContextString, value).text))
    elif type(value) is bool:
        out.append("true" if value else "false")
    elif type(value) is int:
        out.append(str(value))
    elif type(value) is float:
        out.append(write_float(value))
    elif type(value) is Path:
        out.append(write_string(state.copy_path_to_store(cython.cast(Path, value).path, context)))
    elif value is NULL:
        out.append("null")
    elif type(value) is list:
        if depth >= _MOST_LEVELS:
            raise EvalError("stack overflow; max-call-depth exceeded", NO_POS)
        _list(state, value, context, out, depth + 1)
    elif isinstance(value, dict):
        if depth >= _MOST_LEVELS:
            raise EvalError("stack overflow; max-call-depth exceeded", NO_POS)
        _attrs(state, value, context, out, depth + 1)
    else:
        raise NixTypeError(f"cannot convert {show_type(value)} to JSON")


@cython.cfunc
def _list(state: object, items: list, context: set, out: list, depth: cython.int):
    index: cython.Py_ssize_t = 0
    for item in items:
        out.append("," if index else "[")
        try:
            value_to_json(state, item, context, out, depth)
        except NixError as error:
            error.add_trace(CALL_SITE, f"while evaluating list element at index {index}")
            raise
        index += 1
    out.append("]" if items else "[]")


@cython.cfunc
def _attrs(state: object, attrs: object, context: set, out: list, depth: cython.int):
    if "__toString" in attrs or "outPath" in attrs:
        _text_of(state, attrs, context, out, depth)
        return
    first: cython.bint = True
    for name in sorted(attrs):
        out.append("{" if first else ",")
        first = False
        out.append(write_string(name))
        out.append(":")
        try:
            value_to_json(state, attrs[name], context, out, depth)
        except NixError as error:
            where: object = position_of(attrs, name)
            error.settle(where)
            error.add_trace(where, f"while evaluating attribute '{name}'")
            raise
    out.append("{}" if first else "}")


@cython.cfunc
def _text_of(state: object, attrs: object, context: set, out: list, depth: cython.int):
    """Write a set that stands for a string; Nix 2.8 does not copy a path that `__toString` returns."""
    value: object = attrs.get("__toString")
    where: object
    if value is None:
        where = position_of(attrs, "outPath")
        value = attrs["outPath"]
        try:
            if type(value) is Thunk:
                value = force_thunk(cython.cast(Thunk, value), where)
            value_to_json(state, value, context, out, depth)
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
        out.append(write_string(coerce(state, value, context, False, False)))
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
