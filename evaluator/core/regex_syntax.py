"""The syntax of POSIX extended regular expressions: bytes in, a small tree out.

The grammar is POSIX 1003.1 chapter 9.4 with the limits of C++'s `std::regex::extended`, which Nix users know: a
backslash quotes special characters only, `{` always opens a bound, back references do not exist.
Used by `regexes.py` and `regex_program.py` only.
"""

from __future__ import annotations

_ALL = (1 << 256) - 1
_SPECIAL = b".[\\()*+?{|^$"
_MOST_COPIES = 100_000


class RegexSyntaxError(Exception):
    """The pattern is not a POSIX extended regular expression; the text says what is wrong with it."""


class RegexTooComplexError(Exception):
    """The pattern would need more states than the 100 000 that Nix allows."""


class _Value:
    """Immutable by agreement, equal by content. Not dataclasses: those cost more to import than a small evaluation."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(getattr(self, x) == getattr(other, x) for x in self.__slots__)

    def __hash__(self) -> int:
        return hash((type(self), *[getattr(self, x) for x in self.__slots__]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(repr(getattr(self, x)) for x in self.__slots__)})"


class Bytes(_Value):
    """One byte out of a set: bit n of `mask` stands for byte n."""

    __slots__ = ("mask",)

    def __init__(self, mask: int) -> None:
        self.mask = mask


class Anchor(_Value):
    """`^` or `$`."""

    __slots__ = ("at_start",)

    def __init__(self, at_start: bool) -> None:
        self.at_start = at_start


class Sequence(_Value):
    """Items one after the other; none is the empty expression."""

    __slots__ = ("items",)

    def __init__(self, items: tuple[Node, ...]) -> None:
        self.items = items


class Alternatives(_Value):
    """One of at least two items."""

    __slots__ = ("items",)

    def __init__(self, items: tuple[Node, ...]) -> None:
        self.items = items


class Repeat(_Value):
    """`low` to `high` copies of `body`, as many as possible; `high` None is no limit."""

    __slots__ = ("body", "high", "low")

    def __init__(self, body: Node, low: int, high: int | None) -> None:
        self.body = body
        self.low = low
        self.high = high


class Group(_Value):
    """A capturing parenthesis; numbers start at 1, in the order of the opening parentheses."""

    __slots__ = ("body", "number")

    def __init__(self, number: int, body: Node) -> None:
        self.number = number
        self.body = body


Node = Bytes | Anchor | Sequence | Alternatives | Repeat | Group


def _range_mask(low: int, high: int) -> int:
    return (1 << (high + 1)) - (1 << low)


def _mask(members: bytes) -> int:
    out = 0
    for byte in members:
        out |= 1 << byte
    return out


_UPPER, _LOWER, _DIGIT = _range_mask(65, 90), _range_mask(97, 122), _range_mask(48, 57)
_CLASSES = {
    b"alpha": _UPPER | _LOWER,
    b"upper": _UPPER,
    b"lower": _LOWER,
    b"digit": _DIGIT,
    b"alnum": _UPPER | _LOWER | _DIGIT,
    b"space": _mask(b" \t\n\v\f\r"),
    b"blank": _mask(b" \t"),
    b"cntrl": _range_mask(0, 31) | 1 << 127,
    b"graph": _range_mask(33, 126),
    b"print": _range_mask(32, 126),
    b"punct": _range_mask(33, 126) & ~(_UPPER | _LOWER | _DIGIT),
    b"xdigit": _DIGIT | _mask(b"abcdefABCDEF"),
    # `w`, `s` and `d` are names that libstdc++ knows besides those of POSIX.
    b"w": _UPPER | _LOWER | _DIGIT | 1 << 95,
    b"s": _mask(b" \t\n\v\f\r"),
    b"d": _DIGIT,
}


class _Parser:
    def __init__(self, text: bytes) -> None:
        self.text = text
        self.at = 0
        self.groups = 0

    def peek(self) -> bytes:
        return self.text[self.at : self.at + 1]

    def alternatives(self) -> Node:
        items = [self.sequence()]
        while self.peek() == b"|":
            self.at += 1
            items.append(self.sequence())
        return items[0] if len(items) == 1 else Alternatives(tuple(items))

    def sequence(self) -> Node:
        items: list[Node] = []
        while self.at < len(self.text) and self.peek() not in (b"|", b")"):
            items.append(self.repeated())
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def repeated(self) -> Node:
        node = self.atom()
        while self.peek() in (b"*", b"+", b"?", b"{") and self.at < len(self.text):
            sign = self.peek()
            self.at += 1
            if isinstance(node, Anchor):
                raise RegexSyntaxError("a repetition must not follow an anchor")
            if sign == b"{":
                low, high = self.bounds()
            else:
                low, high = (1 if sign == b"+" else 0), (1 if sign == b"?" else None)
            node = Repeat(node, low, high)
        return node

    def number(self) -> int | None:
        start = self.at
        while self.peek().isdigit():
            self.at += 1
        if self.at - start > 6:
            raise RegexTooComplexError
        return int(self.text[start : self.at]) if self.at > start else None

    def bounds(self) -> tuple[int, int | None]:
        low = self.number()
        if low is None:
            raise RegexSyntaxError("a number must follow '{'")
        high: int | None = low
        if self.peek() == b",":
            self.at += 1
            high = self.number()
        if self.peek() != b"}":
            raise RegexSyntaxError("'{' without '}'")
        self.at += 1
        if high is not None and high < low:
            raise RegexSyntaxError("the bounds of a repetition are in the wrong order")
        if max(low, high or 0) > _MOST_COPIES:
            raise RegexTooComplexError
        return low, high

    def atom(self) -> Node:
        char = self.peek()
        self.at += 1
        if char == b"(":
            self.groups += 1
            number = self.groups
            body = self.alternatives()
            if self.peek() != b")":
                raise RegexSyntaxError("'(' without ')'")
            self.at += 1
            return Group(number, body)
        if char == b"[":
            return Bytes(self.bracket())
        if char == b".":
            return Bytes(_ALL & ~1)
        if char in (b"^", b"$"):
            return Anchor(char == b"^")
        if char in (b"*", b"+", b"?", b"{"):
            raise RegexSyntaxError(f"nothing to repeat before '{char.decode()}'")
        if char == b"\\":
            char = self.peek()
            if not char or char not in _SPECIAL:
                raise RegexSyntaxError("a backslash must precede a special character")
            self.at += 1
        return Bytes(1 << char[0])

    def bracket(self) -> int:
        negated = self.peek() == b"^"
        if negated:
            self.at += 1
        mask = 0
        first = True
        while True:
            if self.at >= len(self.text):
                raise RegexSyntaxError("'[' without ']'")
            if self.peek() == b"]" and not first:
                self.at += 1
                break
            if self.text.startswith(b"[:", self.at):
                name = self.named(b":")
                if name.lower() not in _CLASSES:
                    raise RegexSyntaxError(f"unknown character class '{name.decode('latin-1')}'")
                mask |= _CLASSES[name.lower()]
                first = False
                continue
            low = self.element()
            if self.peek() == b"-" and self.text[self.at + 1 : self.at + 2] not in (b"]", b""):
                self.at += 1
                high = self.element()
                if high < low:
                    raise RegexSyntaxError("a range's end comes before its start")
                mask |= _range_mask(low, high)
                if self.peek() == b"-" and self.text[self.at + 1 : self.at + 2] != b"]":
                    raise RegexSyntaxError("a range's end cannot start another range")
            else:
                mask |= 1 << low
            first = False
        return _ALL & ~mask if negated else mask

    def named(self, sign: bytes) -> bytes:
        end = self.text.find(sign + b"]", self.at + 2)
        if end < 0:
            raise RegexSyntaxError("'[" + sign.decode() + "' without its end")
        name = self.text[self.at + 2 : end]
        self.at = end + 2
        return name

    def element(self) -> int:
        for sign in (b".", b"="):
            if self.text.startswith(b"[" + sign, self.at):
                name = self.named(sign)
                if len(name) != 1:
                    raise RegexSyntaxError(f"unknown collating element '{name.decode('latin-1')}'")
                return name[0]
        char = self.peek()
        self.at += 1
        return char[0]


def parse_regex(pattern: bytes) -> tuple[Node, int]:
    """The tree of PATTERN and its number of groups. Raises `RegexSyntaxError` or `RegexTooComplexError`."""
    parser = _Parser(pattern)
    tree = parser.alternatives()
    if parser.at != len(pattern):
        raise RegexSyntaxError("')' without '('")
    return tree, parser.groups
