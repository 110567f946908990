"""The lexer: bytes of a Nix expression to tokens, following the rules of Nix's lexer (src/libexpr/lexer.l of 2.8).

The parser drives it: `next` in ordinary text, `string_part`, `indented_part` and `path_part` inside strings and paths,
each of which leaves the token in `kind`, `value` and `start` (a byte offset). `at` is where the next token is looked
for, so the parser may look ahead by saving and restoring these four.

Offsets are relative to the text; nothing here knows about files. Raises `SyntaxProblem`.
"""

from sys import intern

import cython

if cython.compiled:
    from cython.cimports.cpython.unicode import PyUnicode_1BYTE_DATA
    from cython.cimports.libc.string import memcmp

(
    T_EOF,
    T_ID,
    T_INT,
    T_FLOAT,
    T_PATH,
    T_HPATH,
    T_SPATH,
    T_URI,
    T_QUOTE,
    T_IND_OPEN,
    T_STR,
    T_IND_STR,
    T_DOLLAR_CURLY,
    T_STRING_END,
    T_PATH_END,
    T_IF,
    T_THEN,
    T_ELSE,
    T_ASSERT,
    T_WITH,
    T_LET,
    T_IN,
    T_REC,
    T_INHERIT,
    T_OR_KW,
    T_ELLIPSIS,
    T_EQ,
    T_NEQ,
    T_LEQ,
    T_GEQ,
    T_AND,
    T_OR,
    T_IMPL,
    T_UPDATE,
    T_CONCAT,
    CHAR_BASE,
) = range(36)
# A token that is one character c is CHAR_BASE + c.

_NAMES = (
    "end of file,identifier,integer,floating-point literal,path,'~/…' path,'<…>' path,URI,'\"',"
    "start of an indented string,string,indented string,'${','\"',end of path,'if','then','else','assert','with','let',"
    "'in','rec','inherit','or','...','==','!=','<=','>=','&&','||','->','//','++'"
).split(",")

_KEYWORDS = {
    "if": T_IF,
    "then": T_THEN,
    "else": T_ELSE,
    "assert": T_ASSERT,
    "with": T_WITH,
    "let": T_LET,
    "in": T_IN,
    "rec": T_REC,
    "inherit": T_INHERIT,
    "or": T_OR_KW,
}

#: The name last seen for each hash value, as sys.intern has it, and which token it is.
_names = [None] * 8192
_kinds_of_names = bytearray(8192)
_kinds = _kinds_of_names

# Bits of the character classes below.
_ID_START = 1
_ID_PART = 2
_PATH_CHAR = 4
_URI_CHAR = 8
_DIGIT = 16
_SCHEME = 32
_ALPHA = 64


def _classes() -> bytes:
    table = bytearray(256)
    letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    digits = b"0123456789"
    for bit, members in (
        (_ID_START, letters + b"_"),
        (_ID_PART, letters + digits + b"_'-"),
        (_PATH_CHAR, letters + digits + b"._-+"),
        (_URI_CHAR, letters + digits + b"%/?:@&=+$,-_.!~*'"),
        (_DIGIT, digits),
        (_SCHEME, letters + digits + b"+-."),
        (_ALPHA, letters),
    ):
        for member in members:
            table[member] |= bit
    return bytes(table)


_CLASSES = _classes()
_class = _CLASSES


class SyntaxProblem(Exception):
    """The text is wrong at byte `offset`."""

    def __init__(self, message, offset):
        Exception.__init__(self, message)
        self.message = message
        self.offset = offset


class AlreadyDefined(SyntaxProblem):
    """An attribute, a name or an attribute path, is defined at byte `offset` and was at byte `other`."""

    def __init__(self, attribute, offset, other):
        SyntaxProblem.__init__(self, "attribute already defined", offset)
        self.attribute = attribute
        self.other = other


def token_name(kind):
    """Return what the messages of Nix's parser call a token."""
    if kind < CHAR_BASE:
        return _NAMES[kind]
    c = kind - CHAR_BASE
    if chr(c) in "(){}[]:;,.@?=<>+-*/!":
        return "'" + chr(c) + "'"
    return "invalid token"


_PADDING = b"\0\0\0"


@cython.cclass
class Lexer:
    """Reads one text. See the module.

    While `skimming`, strings and integers are checked as ever, but what they are is not told.
    """

    def __init__(self, text: bytes, padded=None):
        # NULs behind the text let the code below look two bytes ahead without asking for the length. `padded` is the
        # `text` of another lexer, to be read again.
        self.text = text + _PADDING if padded is None else padded
        self.s = self.text
        self.length = len(self.text) - len(_PADDING)
        self.skimming = False
        self.at = 0
        self.plain_until = 0
        self.kind = T_EOF
        self.value = None
        self.start = 0
        self.last = 0

    def part(self, begin: cython.Py_ssize_t, end: cython.Py_ssize_t):
        """The value of a token that is this part of the text."""
        return "" if self.skimming else self.decode(begin, end)

    def decode(self, begin: cython.Py_ssize_t, end: cython.Py_ssize_t):
        s: cython.p_const_uchar = self.s
        return s[begin:end].decode("utf-8", "surrogateescape")

    def no_nul(self, begin: cython.Py_ssize_t, end: cython.Py_ssize_t):
        """Raise if there is a NUL in this part of a string."""
        if self.text.find(b"\0", begin, end) >= 0:
            shown: str = self.decode(begin, end).replace("\0", "\u2400")
            raise SyntaxProblem(
                "input string '%s' cannot be represented as Nix string because it contains null bytes" % shown, begin
            )
        return 0

    def skip_blanks(self):
        """Return the offset of the next byte that is neither white space nor in a comment.

        `last` becomes the start of the last of them: where Nix reports an unexpected end of the text.
        """
        s: cython.p_const_uchar = self.s
        p: cython.Py_ssize_t = self.at
        q: cython.Py_ssize_t
        c: cython.int
        while True:
            c = s[p]
            if c == 32 or c == 10 or c == 9 or c == 13:
                self.last = p
                p += 1
                while s[p] == 32 or s[p] == 10 or s[p] == 9 or s[p] == 13:
                    p += 1
            elif c == 35:  # '#'
                self.last = p
                while s[p] != 10 and s[p] != 13 and p < self.length:
                    p += 1
            elif c == 47 and s[p + 1] == 42:  # "/*"
                q = self.text.find(b"*/", p + 2)
                if q < 0 or q + 2 > self.length:
                    return p  # not a comment: '/' and '*' are two operators, and the parser complains
                self.last = p
                p = q + 2
            else:
                return p

    def path_end(self, p: cython.Py_ssize_t):
        """Return where a path that has a slash at `p` ends: {PATH_CHAR}*(/{PATH_CHAR}+)+/? or p if it is none."""
        s: cython.p_const_uchar = self.s
        while s[p] == 47 and _class[s[p + 1]] & _PATH_CHAR:
            p += 2
            while _class[s[p]] & _PATH_CHAR:
                p += 1
        if s[p] == 47 and s[p - 1] != 47:
            return p + 1
        return p

    def path_token(self, p: cython.Py_ssize_t, end: cython.Py_ssize_t, kind: cython.int):
        self.kind = kind
        self.value = self.part(p, end)
        self.at = end
        return 0

    def next(self):
        """Read the next token of ordinary text."""
        s: cython.p_const_uchar = self.s
        p: cython.Py_ssize_t = self.skip_blanks()
        e: cython.Py_ssize_t
        end: cython.Py_ssize_t
        c: cython.int = s[p]
        cls: cython.int = _class[c]
        if p >= self.length or c == 0:
            # Also for a NUL in the text: Nix's lexer returns its code, which is the end of file to its parser.
            self.kind = T_EOF
            if p < self.length:
                self.last = p
            self.start = self.last
            self.at = p
            return 0
        self.start = p
        self.last = p
        if cls & _PATH_CHAR and p >= self.plain_until:
            # Could this be a path or a URI? Both are recognised before anything shorter.
            e = p + 1
            while _class[s[e]] & _PATH_CHAR:
                e += 1
            if s[e] == 47:
                if _class[s[e + 1]] & _PATH_CHAR:
                    return self.path_token(p, self.path_end(e), T_PATH)
                if s[e + 1] == 36 and s[e + 2] == 123:  # "/${"
                    return self.path_token(p, e + 1, T_PATH)
            elif s[e] == 58 and _class[s[e + 1]] & _URI_CHAR:
                # Where none begins here one may begin further on: `1a:b` is a number and a URI.
                end = p
                while _class[s[end]] & _SCHEME:
                    end += 1
                if end == e and cls & _ALPHA:
                    end += 1
                    while _class[s[end]] & _URI_CHAR:
                        end += 1
                    return self.path_token(p, end, T_URI)
            else:
                self.plain_until = e
        if cls & _ID_START:
            return self.word(p)
        if cls & _DIGIT or (c == 46 and _class[s[p + 1]] & _DIGIT):
            return self.number(p)
        return self.symbol(p, c)

    def word(self, p: cython.Py_ssize_t):
        s: cython.p_const_uchar = self.s
        e: cython.Py_ssize_t = p
        h: cython.uint = 0
        found: object
        while _class[s[e]] & _ID_PART:
            h = h * 31 + s[e]
            e += 1
        self.at = e
        if cython.compiled:
            # One object for each name: comparing keys of sets is then comparing pointers, and finding it costs less
            # than making it anew.
            h = (h ^ (h >> 13)) & 8191
            found = _names[h]
            if (
                found is None
                or len(cython.cast(str, found)) != e - p
                or memcmp(PyUnicode_1BYTE_DATA(found), cython.address(s[p]), e - p) != 0
            ):
                found = intern(s[p:e].decode("ascii"))
                _names[h] = found
                _kinds[h] = _KEYWORDS.get(found, T_ID)
            self.value = found
            self.kind = _kinds[h]
        else:
            self.value = intern(s[p:e].decode("ascii"))
            self.kind = _KEYWORDS.get(self.value, T_ID)
        return 0

    def number(self, p: cython.Py_ssize_t):
        s: cython.p_const_uchar = self.s
        e: cython.Py_ssize_t = p
        f: cython.Py_ssize_t
        while _class[s[e]] & _DIGIT:
            e += 1
        f = 0
        # (([1-9][0-9]*\.[0-9]*)|(0?\.[0-9]+))([Ee][+-]?[0-9]+)?
        if s[e] == 46:
            if e > p and s[p] != 48:
                f = e + 1
            elif (e == p or (e == p + 1 and s[p] == 48)) and _class[s[e + 1]] & _DIGIT:
                f = e + 1
        if f:
            while _class[s[f]] & _DIGIT:
                f += 1
            if s[f] == 69 or s[f] == 101:
                e = f + 1
                if s[e] == 43 or s[e] == 45:
                    e += 1
                if _class[s[e]] & _DIGIT:
                    while _class[s[e]] & _DIGIT:
                        e += 1
                    f = e
            self.value = float(self.text[p:f])
            if self.value == float("inf") or (
                self.value == 0 and any(c in b"123456789" for c in self.text[p:f].lower().split(b"e")[0])
            ):
                raise SyntaxProblem("invalid float '%s'" % self.decode(p, f), p)
            self.kind = T_FLOAT
            self.at = f
            return 0
        if e - p > 18 and int(self.text[p:e]) > 9223372036854775807:
            raise SyntaxProblem("invalid integer '%s'" % self.decode(p, e), p)
        self.value = None if self.skimming else int(self.text[p:e])
        self.kind = T_INT
        self.at = e
        return 0

    def symbol(self, p: cython.Py_ssize_t, c: cython.int):
        s: cython.p_const_uchar = self.s
        d: cython.int = s[p + 1]
        kind: cython.int = CHAR_BASE + c
        size: cython.int = 1
        e: cython.Py_ssize_t
        if c == 34:  # '"'
            kind = T_QUOTE
        elif c == 39 and d == 39:  # "''"
            kind = T_IND_OPEN
            e = p + 2
            while s[e] == 32:
                e += 1
            size = 2
            if s[e] == 10:
                self.kind = kind
                self.at = e + 1
                return 0
        elif c == 36 and d == 123:
            kind = T_DOLLAR_CURLY
            size = 2
        elif c == 46 and d == 46 and s[p + 2] == 46:
            kind = T_ELLIPSIS
            size = 3
        elif c == 61 and d == 61:
            kind = T_EQ
            size = 2
        elif c == 33 and d == 61:
            kind = T_NEQ
            size = 2
        elif c == 60:  # '<'
            e = p + 1
            if _class[d] & _PATH_CHAR:
                while _class[s[e]] & _PATH_CHAR:
                    e += 1
                while s[e] == 47 and _class[s[e + 1]] & _PATH_CHAR:
                    e += 2
                    while _class[s[e]] & _PATH_CHAR:
                        e += 1
                if s[e] == 62:
                    self.kind = T_SPATH
                    self.value = self.part(p + 1, e)
                    self.at = e + 1
                    return 0
            elif d == 61:
                kind = T_LEQ
                size = 2
        elif c == 62 and d == 61:
            kind = T_GEQ
            size = 2
        elif c == 38 and d == 38:
            kind = T_AND
            size = 2
        elif c == 124 and d == 124:
            kind = T_OR
            size = 2
        elif c == 45 and d == 62:
            kind = T_IMPL
            size = 2
        elif c == 43 and d == 43:
            kind = T_CONCAT
            size = 2
        elif c == 47:  # '/'
            if d == 47:
                kind = T_UPDATE
                size = 2
            elif _class[d] & _PATH_CHAR:
                return self.path_token(p, self.path_end(p), T_PATH)
            elif d == 36 and s[p + 2] == 123:
                return self.path_token(p, p + 1, T_PATH)
        elif c == 126 and d == 47:  # "~/"
            if _class[s[p + 2]] & _PATH_CHAR:
                return self.path_token(p, self.path_end(p + 1), T_HPATH)
            if s[p + 2] == 36 and s[p + 3] == 123:
                return self.path_token(p, p + 2, T_HPATH)
        self.kind = kind
        self.at = p + size
        return 0

    def string_part(self):
        """Inside "...": read STR (value: its text), DOLLAR_CURLY or STRING_END; EOF when the text ends."""
        s: cython.p_const_uchar = self.s
        p: cython.Py_ssize_t = self.at
        begin: cython.Py_ssize_t = p
        plain: cython.bint = True
        c: cython.int
        self.start = p
        while True:
            c = s[p]
            if c == 34:  # '"'
                break
            if c == 36:  # '$'
                c = s[p + 1]
                if c == 123:
                    break
                p += 1
                if c != 34 and c != 92 and p < self.length:
                    if c == 13 or c == 0:
                        plain = False
                    p += 1
            elif c == 92:  # backslash
                plain = False
                if p + 1 >= self.length:
                    p = self.length
                    break
                p += 2
            elif c == 13:
                plain = False
                p += 1
            elif c == 0:
                if p >= self.length:
                    break
                plain = False
                p += 1
            else:
                p += 1
        self.at = p
        if p > begin:
            self.kind = T_STR
            self.last = begin
            if not plain:
                self.no_nul(begin, p)
            self.value = self.part(begin, p) if plain else self.unescape(begin, p)
            return 0
        if p >= self.length:
            self.kind = T_EOF
            self.start = self.last
            return 0
        self.last = p
        if s[p] == 34:
            self.kind = T_STRING_END
            self.at = p + 1
            return 0
        self.kind = T_DOLLAR_CURLY
        self.at = p + 2
        return 0

    def unescape(self, begin: cython.Py_ssize_t, end: cython.Py_ssize_t):
        r"""\n, \r and \t, any other escaped character is itself; CR and CR LF become LF."""
        if self.skimming:
            return ""
        s: cython.p_const_uchar = self.s
        out: bytearray = bytearray()
        p: cython.Py_ssize_t = begin
        c: cython.int
        while p < end:
            c = s[p]
            p += 1
            if c == 92 and p < end:
                c = s[p]
                p += 1
                if c == 110:
                    c = 10
                elif c == 114:
                    c = 13
                elif c == 116:
                    c = 9
            elif c == 13:
                c = 10
                if p < end and s[p] == 10:
                    p += 1
            out.append(c)
        return bytes(out).decode("utf-8", "surrogateescape")

    def indented_part(self):
        """Inside ''...'': read IND_STR (raw text), STR (an escape), DOLLAR_CURLY or STRING_END; EOF at the end."""
        s: cython.p_const_uchar = self.s
        p: cython.Py_ssize_t = self.at
        begin: cython.Py_ssize_t = p
        c: cython.int
        self.start = p
        # ([^\$\']|\$[^\{\']|\'[^\'\$])+
        while True:
            c = s[p]
            if c == 36:
                if s[p + 1] == 123 or s[p + 1] == 39 or p + 1 >= self.length:
                    break
                p += 2
            elif c == 39:
                if s[p + 1] == 39 or s[p + 1] == 36 or p + 1 >= self.length:
                    break
                p += 2
            elif c == 0 and p >= self.length:
                break
            else:
                p += 1
        if p > begin:
            self.no_nul(begin, p)
            self.kind = T_IND_STR
            self.value = self.part(begin, p)
            self.at = p
            self.last = begin
            return 0
        if p >= self.length:
            self.kind = T_EOF
            self.start = self.last
            return 0
        self.last = p
        self.kind = T_STR
        if c == 36:
            if s[p + 1] == 123:
                self.kind = T_DOLLAR_CURLY
                self.at = p + 2
                return 0
            self.value = "$"
            self.at = p + 1
            return 0
        if s[p + 1] != 39:
            self.value = "'"
            self.at = p + 1
            return 0
        c = s[p + 2]
        if c == 36:
            self.value = "$"
            self.at = p + 3
        elif c == 39:
            self.value = "''"
            self.at = p + 3
        elif c == 92 and p + 3 < self.length:
            p += 3
            begin = p
            p += 1
            while s[p] & 0xC0 == 0x80:  # the whole of a UTF-8 sequence, so that it can be decoded
                p += 1
            self.value = self.unescape(begin - 1, begin + 1) if p == begin + 1 else self.part(begin, p)
            self.at = p
        else:
            self.kind = T_STRING_END
            self.at = p + 2
        return 0

    def path_part(self):
        """Directly behind a part of a path: read STR (more of it), DOLLAR_CURLY, or PATH_END."""
        s: cython.p_const_uchar = self.s
        p: cython.Py_ssize_t = self.at
        e: cython.Py_ssize_t = p
        self.start = p
        if s[p] == 36 and s[p + 1] == 123:
            self.kind = T_DOLLAR_CURLY
            self.at = p + 2
            return 0
        while _class[s[e]] & _PATH_CHAR:
            e += 1
        if s[e] == 47:
            e = self.path_end(e) if _class[s[e + 1]] & _PATH_CHAR else e + 1
        if e > p:
            self.kind = T_STR
            self.value = self.part(p, e)
            self.at = e
            self.last = p
            return 0
        if s[p - 1] == 47:
            raise SyntaxProblem("path has a trailing slash", p if p < self.length else self.last)
        self.kind = T_PATH_END
        return 0
