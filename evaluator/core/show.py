"""Printing syntax trees as Nix does: `nix-instantiate --parse`, failed assertions, attribute paths in messages."""

from marshal import loads

import cython

from evaluator.core.nodes import canonical_path
from evaluator.core.parser import parse_skimmed
from evaluator.core.text_buffer import TextBuffer

if cython.compiled:
    from cython.cimports.cpython.unicode import PyUnicode_1BYTE_DATA
    from cython.cimports.evaluator.core.ascii import is_ascii
else:
    is_ascii = str.isascii

    from evaluator.core.parser import (
        ASSERT_N,
        CALL,
        CUR_POS,
        FLOAT_N,
        HAS,
        HPATH_N,
        IF_N,
        INT_N,
        INTERPOLATION,
        LAMBDA,
        LET_N,
        LIST,
        NEGATE,
        NOT,
        PATH_N,
        PATH_PARTS,
        SELECT,
        SKIMMED,
        STRING,
        VAR,
        WITH_N,
    )
    from evaluator.core.values import check_stack

#: The operators that are printed as calls of builtins: what stands before, whether the operands change places, what
#: stands behind.
_CALLS = {
    "-": ("(__sub ", False, ")"),
    "*": ("(__mul ", False, ")"),
    "/": ("(__div ", False, ")"),
    "<": ("(__lessThan ", False, ")"),
    ">": ("(__lessThan ", True, ")"),
    "<=": ("(! (__lessThan ", True, "))"),
    ">=": ("(! (__lessThan ", False, "))"),
}

_START = 1
_PART = 2


def _kinds() -> bytes:
    """For every byte: whether a name can begin with it, and whether it can go on with it."""
    table = bytearray(256)
    for byte in bytearray(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"):
        table[byte] = _START | _PART
    for byte in bytearray(b"0123456789'-"):
        table[byte] = _PART
    return bytes(table)


_KINDS = _kinds()
_kind_of = _KINDS
#: For every byte: 0, or the letter that is behind its backslash in a string.
_LETTERS = bytes({34: 34, 92: 92, 36: 36, 10: 110, 13: 114, 9: 116}.get(byte, 0) for byte in range(256))
_letter = _LETTERS


def absolute_path(path: str, base_path: str) -> str:
    """Return the canonical absolute path that a path literal in a file of directory `base_path` stands for."""
    return canonical_path(path if path.startswith("/") else f"{base_path}/{path}")


def show_path(path, base_path: str = "/", home=None) -> str:
    """Return an attribute path."""
    printer: _Printer = _Printer(base_path, home, None)
    printer.attr_path(path)
    return printer.out.text()


def show(tree, base_path: str = "/", home=None, blobs=None) -> str:
    """Return `tree` as text.

    `home` is a function that gives the home directory, for `~/` paths; `blobs` has what is packed or skimmed.
    """
    printer: _Printer = _Printer(base_path, home, blobs)
    printer.put(tree)
    return printer.out.text()


@cython.final
@cython.cclass
class _Printer:
    """Prints into `out`, and carries what paths are relative to."""

    def __init__(self, base_path, home, blobs):
        self.base_path = base_path
        self.home = home
        self.blobs = blobs
        self.out = TextBuffer()

    def put(self, t):
        """Print a tree."""
        out: TextBuffer = self.out
        some: list
        if type(t) is tuple:
            return self.put_other(cython.cast(tuple, t))
        check_stack()
        some = t
        if some[0] == CALL:
            self.enclosed("(", some[2], "")
            for x in some[3]:
                self.enclosed(" ", x, "")
            return out.put_byte(41)
        out.put("rec { " if some[2] else "{ ")
        self.bindings(some)
        return out.put_byte(125)

    def put_other(self, t):
        """Print a tree that is a tuple: all but sets and calls."""
        out: TextBuffer = self.out
        kind: cython.int = t[0]
        if kind == VAR:
            return self.name(t[1])
        if kind == STRING:
            return self.string(t[1])
        if kind == INT_N:
            return out.put_int(t[1])
        if kind == FLOAT_N:
            return out.put_float(t[1])
        if kind == PATH_N or kind == HPATH_N:
            return out.put(self.path(t))
        if kind == CUR_POS:
            return out.put("__curPos")
        check_stack()
        if kind == SKIMMED:
            return self.put(parse_skimmed(self.blobs, t[1], t[2]))
        if kind == SELECT:
            self.enclosed("(", t[2], ").")
            self.attr_path(t[3])
            return 0 if t[4] is None else self.enclosed(" or (", t[4], ")")
        if kind == LIST:
            out.put("[ ")
            for x in t[1]:
                self.enclosed("(", x, ") ")
            return out.put_byte(93)
        if kind == INTERPOLATION:
            out.put_byte(40)
            self.sum(t[2], 0)
            return out.put_byte(41)
        if kind == PATH_PARTS:
            return self.path_parts(t[2])
        if kind == LAMBDA:
            return self.function(t)
        if kind == LET_N:
            out.put("(let ")
            self.bindings(t[1])
            return self.enclosed("in ", t[2], ")")
        if kind == WITH_N:
            self.enclosed("(with ", t[2], "; ")
            return self.enclosed("", t[3], ")")
        if kind == IF_N:
            self.enclosed("(if ", t[2], " then ")
            self.enclosed("", t[3], " else ")
            return self.enclosed("", t[4], ")")
        if kind == ASSERT_N:
            self.enclosed("assert ", t[2], "; ")
            return self.put(t[3])
        if kind == HAS:
            self.enclosed("((", t[1], ") ? ")
            self.attr_path(t[2])
            return out.put_byte(41)
        if kind == NOT:
            return self.enclosed("(! ", t[1], ")")
        if kind == NEGATE:
            return self.enclosed("(__sub 0 ", t[2], ")")
        return self.operator(t)

    def enclosed(self, before, t, behind):
        """Print a tree between two texts."""
        out: TextBuffer = self.out
        out.put(before)
        self.put(t)
        return out.put(behind)

    def name(self, text: str):
        """Print an identifier, quoted where it has to be."""
        out: TextBuffer = self.out
        i: cython.Py_ssize_t
        n: cython.Py_ssize_t = len(text)
        s: cython.p_const_uchar
        plain: cython.bint = n > 0 and is_ascii(text)
        if plain:
            if cython.compiled:
                s = PyUnicode_1BYTE_DATA(text)
            else:
                s = text.encode()
            plain = _kind_of[s[0]] & _START
            for i in range(n):
                if not _kind_of[s[i]] & _PART:
                    plain = False
            if n == 2 and s[0] == 105 and s[1] == 102:  # `if`, the one keyword that 2.8 quotes
                plain = False
        return out.put(text) if plain else self.string(text)

    def string(self, text):
        """Print a string literal."""
        return self.out.put_quoted(text, _letter)

    def path(self, t):
        """Return what a path literal stands for."""
        if t[0] == PATH_N:
            return absolute_path(t[1], self.base_path)
        return canonical_path((self.home() if self.home is not None else "~") + t[1][1:])

    def path_parts(self, parts):
        """Print a path with interpolations."""
        out: TextBuffer = self.out
        first: tuple = parts[0]
        start: str = self.path(first)
        out.put_byte(40)
        out.put(start)
        if first[1].endswith("/") and len(first[1]) > 1 and not start.endswith("/"):
            out.put_byte(47)
        self.sum(parts, 1)
        return out.put_byte(41)

    def sum(self, parts, begin):
        """Print strings and interpolated trees, from the one with this number on, as what is added up."""
        i: cython.Py_ssize_t
        for i in range(begin, len(parts)):
            part: object = parts[i]
            if i:
                self.out.put(" + ")
            if type(part) is str:
                self.string(part)
            else:
                self.put(part[1])
        return 0

    def attr_path(self, path):
        """Print an attribute path."""
        first: cython.bint = True
        for x in path:
            if not first:
                self.out.put_byte(46)
            first = False
            if type(x) is str:
                self.name(x)
            else:
                self.enclosed('"${', x, '}"')
        return 0

    def bindings(self, attrs):
        """Inherited names first, then the others; sorted, as current Nix prints them (2.8 has no stable order)."""
        out: TextBuffer = self.out
        inherited: cython.bint = False
        groups: dict = {}
        plain: list = []
        values: list = []
        known: dict = attrs[3]
        i: cython.Py_ssize_t
        if len(attrs) > 6:  # from the parse cache
            names, starts, _ = attrs[6]
            trees: list = [(0, loads(self.blobs[start:]), 0) for start in starts]
            known = {**known, **dict(zip(names, trees, strict=True))}
        for name in sorted(known):
            binding: tuple = known[name]
            kind: cython.int = binding[0]
            if kind == 1:
                out.put(" " if inherited else "inherit ")
                inherited = True
                self.name(name)
            elif kind == 2:
                groups.setdefault(binding[1][0], []).append(name)
            else:
                plain.append(name)
                values.append(binding[1])
        if inherited:
            out.put("; ")
        for index in sorted(groups):
            self.enclosed("inherit (", attrs[5][index], ")")
            for name in groups[index]:
                out.put_byte(32)
                self.name(name)
            out.put("; ")
        for i in range(len(plain)):
            self.name(plain[i])
            self.enclosed(" = ", values[i], "; ")
        for dynamic, value, _ in attrs[4] or ():
            self.enclosed('"${', dynamic, '}" = ')
            self.enclosed("", value, "; ")
        return 0

    def function(self, t):
        """Print a function."""
        out: TextBuffer = self.out
        first: cython.bint = True
        if t[3] is None:
            out.put_byte(40)
            self.name(t[2])
            return self.enclosed(": ", t[5], ")")
        out.put("({ ")
        for name, default in sorted([(f[0], f[1]) for f in t[3]]):
            if not first:
                out.put(", ")
            first = False
            self.name(name)
            if default is not None:
                self.enclosed(" ? ", default, "")
        if t[4]:
            out.put("..." if first else ", ...")
        out.put(" }")
        if t[2] is not None:
            out.put(" @ ")
            self.name(t[2])
        return self.enclosed(": ", t[5], ")")

    def operator(self, t):
        """Print an operator with its operands."""
        out: TextBuffer = self.out
        as_call: object = _CALLS.get(t[1])
        if as_call is None:
            self.enclosed("(", t[3], " ")
            out.put(t[1])
            return self.enclosed(" ", t[4], ")")
        self.enclosed(as_call[0], t[4] if as_call[1] else t[3], " ")
        return self.enclosed("", t[3] if as_call[1] else t[4], as_call[2])
