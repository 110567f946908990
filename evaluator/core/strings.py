"""Builtins for strings. How builtins are written is described in values.py."""

import cython

from evaluator.core.text_buffer import TextBuffer
from evaluator.errors import EvalError

if cython.compiled:
    from cython.cimports.cpython.unicode import PyUnicode_1BYTE_DATA
    from cython.cimports.evaluator.core.ascii import is_ascii
    from cython.cimports.libc.string import memcmp
else:
    is_ascii = str.isascii

    from evaluator.core.calls import (
        coerce,
        force_int,
        force_list,
        force_string,
        force_string_context,
    )
    from evaluator.core.nodes import Mapping, mapped, mapping_of
    from evaluator.core.values import (
        ContextString,
        Path,
        Thunk,
        force_thunk,
        make_path,
        make_string,
    )


def prim_toString(state, x):
    """`toString e`: as a string; also numbers, Booleans, null and lists. Paths are not copied to the store."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    if type(x) is str or type(x) is ContextString:
        return x
    if type(x) is int:
        number: cython.longlong = x
        return f"{number}"
    context: set = set()
    doing: str = "while evaluating the first argument passed to builtins.toString"
    return make_string(coerce(state, x, context, True, False, doing), context)


def prim_stringLength(state, x):
    """`stringLength e`: how many bytes the string has."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    if type(x) is not str:
        x = coerce(state, x, set(), False, True, "while evaluating the argument passed to builtins.stringLength")
    if is_ascii(x):
        return len(cython.cast(str, x))
    return len(x.encode("utf-8", "surrogateescape"))


def prim_substring(state, start, length, s):
    """`substring start len s`: at most `len` bytes from `start`; all of the rest if `len` is negative."""
    a: cython.longlong = force_int(
        start, "while evaluating the first argument (the start offset) passed to builtins.substring"
    )
    if a < 0:
        raise EvalError("negative start position in 'substring'")
    n: cython.longlong = force_int(
        length, "while evaluating the second argument (the substring length) passed to builtins.substring"
    )
    context: set = None
    text: str
    raw: bytes
    size: cython.longlong
    if type(s) is Thunk:
        s = force_thunk(cython.cast(Thunk, s), -1)
    if type(s) is str:
        text = s
    else:
        context = set()
        doing: str = "while evaluating the third argument (the string) passed to builtins.substring"
        text = coerce(state, s, context, False, True, doing)
    if is_ascii(text):
        size = len(text)
        a = min(a, size)
        if n < 0 or n > size - a:
            n = size - a
        text = text[a : a + n]
    else:
        raw = text.encode("utf-8", "surrogateescape")
        size = len(raw)
        a = min(a, size)
        if n < 0 or n > size - a:
            n = size - a
        text = raw[a : a + n].decode("utf-8", "surrogateescape")
    return make_string(text, context) if context else text


def prim_concatStringsSep(state, separator, items):
    """`concatStringsSep separator list`: the strings joined."""
    context: set = set()
    doing: str = "while evaluating the first argument (the separator string) passed to builtins.concatStringsSep"
    between: str = force_string_context(separator, context, doing)
    out: list = []
    doing = "while evaluating the second argument (the list of strings to concat) passed to builtins.concatStringsSep"
    mapping: Mapping = mapping_of(items)
    strings: list = force_list(items, doing) if mapping is None else mapping.source
    doing = "while evaluating one element of the list of strings to concat passed to builtins.concatStringsSep"
    for x in strings:
        if mapping is not None:
            x = mapped(mapping, x)
        elif type(x) is Thunk:
            x = force_thunk(cython.cast(Thunk, x), -1)
        if type(x) is not str:
            x = coerce(state, x, context, False, True, doing)
        out.append(x)
    return make_string(between.join(out), context)


def prim_replaceStrings(state, old, new, s):
    """`replaceStrings from to s`: every occurrence of a string in `from` replaced by its counterpart in `to`."""
    olds: list = force_list(old, "while evaluating the first argument passed to builtins.replaceStrings")
    news: list = force_list(new, "while evaluating the second argument passed to builtins.replaceStrings")
    context: set = set()
    if len(olds) != len(news):
        raise EvalError("'from' and 'to' arguments passed to builtins.replaceStrings have different lengths")
    doing: str = "while evaluating one of the strings to replace passed to builtins.replaceStrings"
    patterns: list = olds
    for x in olds:
        if type(x) is not str:
            patterns = [force_string(x, doing) for x in olds]
            break
    doing = "while evaluating the third argument passed to builtins.replaceStrings"
    text: str = force_string_context(s, context, doing)
    return make_string(replace(text, patterns, news, context), context)


@cython.cfunc
def replace(text: str, patterns: list, news: list, context: set) -> str:
    """Of two patterns at one place the earlier counts. Replacements are evaluated when they are needed, then their
    contexts count, too.
    """
    if "" in patterns:
        if not is_ascii(text):
            # An empty pattern matches between any two bytes.
            as_bytes: list = [latin(x) for x in patterns]
            made: list = [NeededReplacement(x) for x in news]
            result: str = replace_everywhere(latin(text), as_bytes, made, context)
            return result.encode("latin-1").decode("utf-8", "surrogateescape")
        return replace_everywhere(text, patterns, news, context)
    if len(patterns) == 1:
        if cython.cast(str, patterns[0]) in text:
            return text.replace(patterns[0], replacement(news[0], context))
        return text
    if is_ascii(text):
        return replace_ascii(text, patterns, news, context)
    return replace_found(text, patterns, news, context)


@cython.cfunc
def replace_ascii(text: str, patterns: list, news: list, context: set) -> str:
    """`replace` in ASCII, without an empty pattern: only where some pattern's first character is they are compared."""
    s: cython.p_const_uchar
    raw: bytes
    n: cython.Py_ssize_t = len(text)
    at: cython.Py_ssize_t = 0
    done: cython.Py_ssize_t = 0
    k: cython.Py_ssize_t
    c: cython.int
    pattern: str = ""
    out: TextBuffer = None
    # What patterns begin with: bit n of the one stands for character n, of the other for 64 + n.
    low: cython.ulonglong = 0
    high: cython.ulonglong = 0
    if cython.compiled:
        s = PyUnicode_1BYTE_DATA(text)
    else:
        raw = text.encode()
        s = raw
    for k in range(len(patterns)):
        pattern = patterns[k]
        c = ord(pattern[0])
        if c < 64:
            low |= cython.cast(cython.ulonglong, 1) << c
        elif c < 128:
            high |= cython.cast(cython.ulonglong, 1) << (c - 64)
    while at < n:
        c = s[at]
        if ((low >> c) if c < 64 else (high >> (c - 64))) & 1:
            for k in range(len(patterns)):
                pattern = patterns[k]
                if cython.compiled:
                    if (
                        is_ascii(pattern)
                        and len(pattern) <= n - at
                        and memcmp(s + at, PyUnicode_1BYTE_DATA(pattern), len(pattern)) == 0
                    ):
                        break
                elif text.startswith(pattern, at):
                    break
            else:
                at += 1
                continue
            if out is None:
                out = TextBuffer()
            if cython.compiled:
                out.put_bytes(s + done, at - done)
            else:
                out.put_bytes(s[done:at], at - done)
            out.put(replacement(news[k], context))
            at += len(pattern)
            done = at
        else:
            at += 1
    if out is None:
        return text
    if cython.compiled:
        out.put_bytes(s + done, n - done)
    else:
        out.put_bytes(s[done:n], n - done)
    return out.text()


@cython.cfunc
def replace_everywhere(text: str, patterns: list, news: list, context: set) -> str:
    """`replace` where one pattern is empty, which matches wherever no earlier one does."""
    out: list = []
    p: cython.Py_ssize_t = 0
    n: cython.Py_ssize_t = len(text)
    hit: cython.Py_ssize_t = 0
    copied: cython.Py_ssize_t = 0
    pattern: str = ""
    while p <= n:
        for hit in range(len(patterns)):
            pattern = patterns[hit]
            if text.startswith(pattern, p):
                break
        out.append(text[copied:p])
        out.append(replacement(news[hit], context))
        copied = p + len(pattern)
        # Behind an empty match the next character stays.
        p = copied if pattern else p + 1
    out.append(text[copied:])
    return "".join(out)


#: What is being done when a replacement is evaluated, for traces.
REPLACEMENT = "while evaluating one of the replacement strings passed to builtins.replaceStrings"


@cython.cfunc
def replacement(value: object, context: set) -> str:
    """The text to put in; its context counts from now on."""
    if type(value) is NeededReplacement:
        return value.get(context)
    return force_string_context(value, context, REPLACEMENT)


@cython.cfunc
def replace_found(text: str, patterns: list, news: list, context: set) -> str:
    """`replace` without an empty pattern: from the next occurrence of any of them to the one behind it."""
    out: list = []
    p: cython.Py_ssize_t = 0
    n: cython.Py_ssize_t = len(text)
    at: cython.Py_ssize_t
    nearest: cython.Py_ssize_t
    hit: cython.Py_ssize_t = 0
    k: cython.Py_ssize_t
    pattern: str
    # The patterns that occur, in their order: what each is, what replaces it, where it occurs next.
    present: list = []
    with_what: list = []
    where: list = []
    for k in range(len(patterns)):
        pattern = patterns[k]
        at = text.find(pattern)
        if at >= 0:
            present.append(pattern)
            with_what.append(news[k])
            where.append(at)
    if not present:
        return text
    while True:
        nearest = n
        for k in range(len(present)):
            at = where[k]
            if at < p:
                at = text.find(present[k], p)
                if at < 0:
                    at = n
                where[k] = at
            if at < nearest:
                nearest = at
                hit = k
        if nearest == n:
            break
        if p < nearest:
            out.append(text[p:nearest])
        out.append(replacement(with_what[hit], context))
        p = nearest + len(cython.cast(str, present[hit]))
    out.append(text[p:])
    return "".join(out)


def latin(text):
    """Return the bytes of `text` as one character each."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


class NeededReplacement:
    """A replacement as bytes in the guise of characters."""

    def __init__(self, value):
        self.value = value

    def get(self, context):
        return latin(force_string_context(self.value, context, REPLACEMENT))


def prim_baseNameOf(state, x):
    """`baseNameOf s`: what follows the last slash."""
    context: set = set()
    doing: str = "while evaluating the first argument passed to builtins.baseNameOf"
    text: str = coerce(state, x, context, False, False, doing)
    # One trailing slash does not count.
    return make_string(text.removesuffix("/").rpartition("/")[2], context)


def prim_dirOf(state, x):
    """`dirOf s`: what precedes the last slash; a path for a path."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    context: set = set()
    doing: str = "while evaluating the first argument passed to 'builtins.dirOf'"
    text: str = coerce(state, x, context, False, False, doing)
    slash: cython.Py_ssize_t = text.rfind("/")
    if slash < 0:
        text = "."
    else:
        text = text[:slash] or "/"
    if type(x) is Path:
        return make_path(text)
    return make_string(text, context)
