"""`fromJSON`: bytes to Nix values in one pass; it accepts what nlohmann's parser does (json.hpp, as Nix 2.8 has it).

Integers that do not fit into 64 bits become floats, as there; those between 2**63 and 2**64 are
refused, and so are floats that are infinite, and strings that no Nix string can hold.
"""

import cython

from evaluator.errors import CALL_SITE, NO_POS, EvalError

if cython.compiled:
    from cython.cimports.libc.string import memcmp
else:
    from evaluator.core.calls import force_string_no_context
    from evaluator.core.values import NULL, check_stack

_PLAIN = bytes(0 if byte < 32 or byte in b'"\\' else 1 for byte in range(256))
_plain = _PLAIN
_SIMPLE = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))


class JSONProblem(Exception):
    """The text is no JSON from byte `offset` on."""

    def __init__(self, reason, offset):
        Exception.__init__(self, reason)
        self.reason = reason
        self.offset = offset


def prim_fromJSON(state, text):
    """`fromJSON s`: the value of the JSON text *s*."""
    source: str = force_string_no_context(text, "while evaluating the first argument passed to builtins.fromJSON")
    raw: bytes
    try:
        raw = source.encode("utf-8")
    except UnicodeEncodeError:
        raise json_error("invalid UTF-8") from None
    try:
        return from_json(raw)
    except JSONProblem as problem:
        before = raw[: problem.offset].decode("utf-8", "replace")
        line = before.count("\n") + 1
        raise json_error(f"{problem.reason} at line {line}, column {len(before) - before.rfind(chr(10))}") from None
    except RecursionError:
        raise json_error("it is nested too deeply") from None


def json_error(reason):
    """Return the error for a text that is no JSON."""
    error = EvalError(f"invalid JSON: {reason}", NO_POS)
    error.add_trace(CALL_SITE, "while decoding a JSON string")
    return error


def from_json(text: bytes) -> object:
    """Return the value of a JSON text, which is UTF-8. Raises JSONProblem, and EvalError for what Nix cannot hold."""
    reader: Reader = Reader(text)
    if text.startswith(b"\xef\xbb\xbf"):
        reader.at = 3
    value: object = reader.value()
    reader.skip()
    if reader.at < reader.n:
        raise JSONProblem("something follows the value", reader.at)
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


@cython.final
@cython.cclass
class Reader:
    """Reads one text; `at` is the place of the next byte. Behind the text is a NUL, which is no part of any token."""

    def __init__(self, text: bytes):
        self.text = text
        if cython.compiled:
            self.s = self.text
        else:
            self.s = text + b"\0"
        self.n = len(text)
        self.at = 0
        # The names of attributes are few, and the same again and again.
        self.names = {}

    def skip(self):
        """Go to the next byte that is no white space and return it."""
        s: cython.p_const_uchar = self.s
        at: cython.Py_ssize_t = self.at
        while s[at] == 32 or s[at] == 10 or s[at] == 13 or s[at] == 9:
            at += 1
        self.at = at
        return s[at]

    def value(self):
        c: cython.int = self.skip()
        if c == 34:
            return self.string()
        if c == 123:
            check_stack()
            return self.attrs()
        if c == 91:
            check_stack()
            return self.items()
        if c == 45 or 48 <= c <= 57:
            return self.number()
        if self.word(b"true", 4):
            return True
        if self.word(b"false", 5):
            return False
        if self.word(b"null", 4):
            return NULL
        raise JSONProblem("a value is expected", self.at)

    def word(self, word, n):
        """Go behind a word if it is there; return whether it is."""
        if cython.compiled:
            if self.n - self.at < n or memcmp(self.s + self.at, cython.cast(cython.p_char, word), n) != 0:
                return 0
        elif not self.text.startswith(word, self.at):
            return 0
        self.at += n
        return 1

    def items(self):
        out: list = []
        c: cython.int
        self.at += 1
        if self.skip() == 93:
            self.at += 1
            return out
        while True:
            out.append(self.value())
            c = self.skip()
            if c == 44:
                self.at += 1
            elif c == 93:
                self.at += 1
                return out
            else:
                raise JSONProblem("',' or ']' is expected", self.at)

    def attrs(self):
        out: dict = {}
        c: cython.int
        name: object
        known: object
        self.at += 1
        if self.skip() == 125:
            self.at += 1
            return out
        while True:
            if self.skip() != 34:
                raise JSONProblem("the name of an attribute is expected", self.at)
            name = self.string()
            known = self.names.get(name)
            if known is None:
                self.names[name] = name
            else:
                name = known
            if self.skip() != 58:
                raise JSONProblem("':' is expected", self.at)
            self.at += 1
            out[name] = self.value()
            c = self.skip()
            if c == 44:
                self.at += 1
            elif c == 125:
                self.at += 1
                return out
            else:
                raise JSONProblem("',' or '}' is expected", self.at)

    def string(self):
        s: cython.p_const_uchar = self.s
        start: cython.Py_ssize_t = self.at + 1
        at: cython.Py_ssize_t = start
        while _plain[s[at]]:
            at += 1
        if s[at] == 34:
            self.at = at + 1
            return s[start:at].decode("utf-8")
        out: bytearray = bytearray()
        while True:
            out += s[start:at]
            if s[at] == 34:
                self.at = at + 1
                return check_text(out.decode("utf-8", "surrogatepass"))
            if s[at] != 92:
                raise JSONProblem(
                    "a string does not end" if at >= self.n else "a string has an unescaped control character", at
                )
            self.at = at + 1
            if s[at + 1] == 117:
                self.unicode_escape(out)
            else:
                letter: object = _SIMPLE.get(s[at + 1])
                if letter is None:
                    raise JSONProblem("a backslash is followed by something unknown", at)
                out.append(letter)
                self.at = at + 2
            start = at = self.at
            while _plain[s[at]]:
                at += 1

    def unicode_escape(self, out):
        """Append the character of the escape behind a backslash; two of them may be the halves of one character."""
        code: cython.int = self.hex_digits()
        low: cython.int
        if 0xD800 <= code < 0xDC00 and self.s[self.at] == 92 and self.s[self.at + 1] == 117:
            before: cython.Py_ssize_t = self.at
            self.at += 1
            low = self.hex_digits()
            if 0xDC00 <= low < 0xE000:
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            else:
                self.at = before
        out += chr(code).encode("utf-8", "surrogatepass")

    def hex_digits(self):
        """Read `uXXXX` and return the number."""
        code: cython.int = 0
        c: cython.int
        i: cython.int
        for i in range(1, 5):
            c = self.s[self.at + i]
            if 48 <= c <= 57:
                c -= 48
            elif 97 <= c <= 102:
                c -= 87
            elif 65 <= c <= 70:
                c -= 55
            else:
                raise JSONProblem("'\\u' must be followed by four digits", self.at)
            code = code * 16 + c
        self.at += 5
        return code

    def number(self):
        s: cython.p_const_uchar = self.s
        start: cython.Py_ssize_t = self.at
        at: cython.Py_ssize_t = start
        digits: cython.Py_ssize_t
        small: cython.longlong = 0
        whole: cython.bint = True
        if s[at] == 45:
            at += 1
        digits = at
        while 48 <= s[at] <= 57:
            if at - digits < 18:
                small = small * 10 + (s[at] - 48)
            at += 1
        if at == digits or (s[digits] == 48 and at - digits > 1):
            raise JSONProblem("a number is not complete" if at == digits else "a number begins with 0", at)
        if s[at] == 46:
            whole = False
            at = self.more_digits(at + 1)
        if s[at] == 101 or s[at] == 69:
            whole = False
            at += 1
            if s[at] == 43 or s[at] == 45:
                at += 1
            at = self.more_digits(at)
        self.at = at
        if whole and at - digits <= 18:
            return -small if s[start] == 45 else small
        return large_number(self.text[start:at], whole)

    def more_digits(self, at):
        """Return the place behind at least one digit."""
        start: cython.Py_ssize_t = at
        while 48 <= self.s[at] <= 57:
            at += 1
        if at == start:
            raise JSONProblem("a number is not complete", at)
        return at


def large_number(text, whole):
    """Return the value of a number that is a float or has many digits."""
    number = float(text)
    if whole and abs(number) < 1e20:
        integer = int(text)
        if -0x8000000000000000 <= integer <= 0x7FFFFFFFFFFFFFFF:
            return integer
        if 0 < integer < 0x10000000000000000:
            raise EvalError(f"unsigned json number {integer} outside of Nix integer range", NO_POS)
    if number in (float("inf"), float("-inf")):
        raise EvalError(f"[json.exception.out_of_range.406] number overflow parsing '{text.decode()}'", NO_POS)
    return number
