"""Builtins for strings. How builtins are written is described in values.py."""

import cython

from evaluator.errors import EvalError

if not cython.compiled:
    from evaluator.core.calls import (
        coerce,
        force_int,
        force_list,
        force_string,
        force_string_context,
    )
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
    context: set = set()
    doing: str = "while evaluating the first argument passed to builtins.toString"
    return make_string(coerce(state, x, context, True, False, doing), context)


def prim_stringLength(state, x):
    """`stringLength e`: how many bytes the string has."""
    if type(x) is not str:
        x = coerce(state, x, set(), False, True, "while evaluating the argument passed to builtins.stringLength")
    if cython.cast(str, x).isascii():
        return len(cython.cast(str, x))
    return len(x.encode("utf-8", "surrogateescape"))


def prim_substring(state, start, length, s):
    """`substring start len s`: at most `len` bytes from `start`; all of the rest if `len` is negative."""
    a: object = force_int(start, "while evaluating the first argument (the start offset) passed to builtins.substring")
    if a < 0:
        raise EvalError("negative start position in 'substring'")
    n: object = force_int(
        length, "while evaluating the second argument (the substring length) passed to builtins.substring"
    )
    context: set = set()
    doing: str = "while evaluating the third argument (the string) passed to builtins.substring"
    text: str = coerce(state, s, context, False, True, doing)
    raw: bytes
    if text.isascii():
        text = text[a:] if n < 0 else text[a : a + n]
    else:
        raw = text.encode("utf-8", "surrogateescape")
        raw = raw[a:] if n < 0 else raw[a : a + n]
        text = raw.decode("utf-8", "surrogateescape")
    return make_string(text, context) if context else text


def prim_concatStringsSep(state, separator, items):
    """`concatStringsSep separator list`: the strings joined."""
    context: set = set()
    doing: str = "while evaluating the first argument (the separator string) passed to builtins.concatStringsSep"
    between: str = force_string_context(separator, context, doing)
    out: list = []
    doing = "while evaluating the second argument (the list of strings to concat) passed to builtins.concatStringsSep"
    strings: list = force_list(items, doing)
    doing = "while evaluating one element of the list of strings to concat passed to builtins.concatStringsSep"
    for x in strings:
        if type(x) is Thunk:
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
    patterns: list = [force_string(x, doing) for x in olds]
    doing = "while evaluating the third argument passed to builtins.replaceStrings"
    text: str = force_string_context(s, context, doing)
    return make_string(replace(text, patterns, news, context), context)


@cython.cfunc
def replace(text: str, patterns: list, news: list, context: set) -> str:
    """Replacements are evaluated when they are first needed; then their contexts count, too."""
    empty: object = None
    by_first: dict = {}
    out: list = []
    p: cython.Py_ssize_t = 0
    copied: cython.Py_ssize_t = 0
    n: cython.Py_ssize_t
    i: cython.Py_ssize_t
    hit: object
    if "" in patterns and not text.isascii():
        # An empty pattern matches between any two bytes.
        as_bytes: list = [latin(x) for x in patterns]
        made: list = [NeededReplacement(x) for x in news]
        result: str = replace(latin(text), as_bytes, made, context)
        return result.encode("latin-1").decode("utf-8", "surrogateescape")
    for i in range(len(patterns)):
        pattern: str = patterns[i]
        if pattern == "":
            if empty is None:
                empty = i
        else:
            first: str = pattern[0]
            if first not in by_first:
                by_first[first] = []
            by_first[first].append((i, pattern))
    if empty is None:
        return replace_found(text, by_first, news, context)
    n = len(text)
    while p <= n:
        hit = empty
        size: cython.Py_ssize_t = 0
        if p < n:
            for i, pattern in by_first.get(text[p], ()):
                if empty < i:
                    break
                if text.startswith(pattern, p):
                    hit = i
                    size = len(pattern)
                    break
        out.append(text[copied:p])
        out.append(replacement(news[hit], context))
        copied = p
        if size:
            p += size
            copied = p
        else:
            p += 1
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
def replace_found(text: str, by_first: dict, news: list, context: set) -> str:
    """`replace` without an empty pattern: jumps from one character that starts a pattern to the next."""
    out: list = []
    p: cython.Py_ssize_t = 0
    copied: cython.Py_ssize_t = 0
    n: cython.Py_ssize_t = len(text)
    nearest: cython.Py_ssize_t
    at: cython.Py_ssize_t
    hit: cython.Py_ssize_t
    # Where each first character occurs next; n when it does not.
    firsts: list = list(by_first)
    where: list = [-1] * len(firsts)
    k: cython.Py_ssize_t
    while True:
        nearest = n
        for k in range(len(firsts)):
            at = where[k]
            if at < p:
                at = text.find(firsts[k], p)
                if at < 0:
                    at = n
                where[k] = at
            nearest = min(nearest, at)
        if nearest == n:
            break
        p = nearest
        hit = -1
        for i, pattern in by_first[text[p]]:
            if text.startswith(pattern, p):
                hit = i
                break
        if hit < 0:
            p += 1
            continue
        if copied < p:
            out.append(text[copied:p])
        out.append(replacement(news[hit], context))
        p += len(pattern)
        copied = p
    out.append(text[copied:])
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
