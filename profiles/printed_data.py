"""Plain data as Nix prints it, read without an evaluator: what nix-env writes into `manifest.nix`.

`NotPlainError` says that a text is something else (written by hand), which the caller may evaluate instead. Values are
Python's: str, int (64 bits), float, bool, None, list, dict. Pure functions over text.
"""

from __future__ import annotations

from _json import make_scanner  # the machine inside of `json`, which takes 3 ms to import

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    Plain = str | int | float | bool | list["Plain"] | dict[str, "Plain"] | None


class NotPlainError(StoreError):
    """A manifest is more than the data that nix-env writes."""

    def __init__(self, where: int) -> None:
        super().__init__(f"the profile's manifest.nix holds more than plain data (at character {where})")


def read_data(text: str) -> Plain:
    """Return the value that is printed.

    Raises:
        NotPlainError: there is something else than plain data in it.
    """
    value = read_by_json(text)
    return read_exactly(text) if value is None else value


def read_exactly(text: str) -> Plain:
    """Return the value that is printed, with any white space between its words; see `read_data`."""
    value, end = _Reader(text).value(0)
    if text[end:].strip():
        raise NotPlainError(end)
    return value


def read_by_json(text: str) -> Plain:
    """Return the value that is printed, None if that is not certain: then `read_exactly` knows.

    A manifest with the descriptions of a hundred packages is some 100 KB, and word by word slower than C++ Nix. This
    changes what is between the strings into JSON, in a few passes of C over the whole text. It takes only what is
    printed with single spaces, and refuses what could be mistaken for something else.
    """
    if "\0" in text or "\1" in text or "\2" in text or "\3" in text:
        return None  # they stand for something else here
    text = text.replace("\\\\", "\1").replace('\\"', "\2").replace("\\${", "\3")
    if "${" in text or text.count("\\") != sum(map(text.count, ("\\n", "\\r", "\\t"))):
        return None
    parts = text.split('"')
    frame = "\0".join(parts[::2])
    if (
        not len(parts) % 2
        or "  " in frame
        or "{;" in frame
        or "{ ;" in frame
        or not frame.isascii()
        or frame.encode().translate(None, _FRAME)
        or frame.count("}") != frame.count("; }") + frame.count("{ }")
    ):
        return None
    for old, new in _TO_JSON:
        frame = frame.replace(old, new)
    # What the quotes stand around now has to be names: of them all, because a quote may have come to a wrong place.
    if " " in frame or "".join(frame.split('"')[1::2]).encode().translate(None, _NAME):
        return None
    parts[::2] = frame.split("\0")
    text = '"'.join(parts).replace("\1", "\\\\").replace("\2", '\\"').replace("\3", "${")
    try:
        value, end = make_scanner(_JsonRules)(text, 0)  # type: ignore[arg-type]  # any object will do
    except (ValueError, StopIteration, RecursionError, SystemError):
        return None  # the last where its own error is in `json.decoder`, which nobody has imported (Python 3.11)
    return value if end == len(text) else None


_NAME = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-'"
_FRAME = _NAME + b";={}[] \0"
_TO_JSON = (
    ("; }", "}"),
    ("{ ", '{"'),
    ('{"}', "{}"),
    ("; ", ',"'),
    (" = ", '":'),
    ("[ ", "["),
    (" ]", "]"),
    ("\0 \0", "\0,\0"),
    ("\0 \0", "\0,\0"),  # of three strings the one between belonged to the first pair
    ("} {", "},{"),
    ("] [", "],["),
)


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)


class _JsonRules:
    """What `make_scanner` asks its argument for."""

    strict = False  # control characters may stand in strings
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse)  # NaN and Infinity are names to Nix


_SPACE = " \n\r\t"
_WORDS = {"true": True, "false": False, "null": None}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


class _Reader:
    """A reader for the plain data in `text`. Every method takes and returns a place in the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def value(self, at: int) -> tuple[Plain, int]:
        at = self._skip(at)
        first = self._text[at : at + 1]
        if first == '"':
            return self._string(at + 1)
        if first == "[":
            return self._list(at + 1)
        if first == "{":
            return self._set(at + 1)
        end = at
        while end < len(self._text) and self._text[end] not in " \n\r\t;]":
            end += 1
        return self._word(at, end), end

    def _skip(self, at: int) -> int:
        text = self._text
        while at < len(text) and text[at] in _SPACE:
            at += 1
        return at

    def _list(self, at: int) -> tuple[Plain, int]:
        items: list[Plain] = []
        at = self._skip(at)
        while self._text[at : at + 1] != "]":
            item, at = self.value(at)
            items.append(item)
            at = self._skip(at)
        return items, at + 1

    def _set(self, at: int) -> tuple[Plain, int]:
        text = self._text
        items: dict[str, Plain] = {}
        at = self._skip(at)
        while text[at : at + 1] != "}":
            equals = text.find(" = ", at)
            if equals < 0:
                self._fail(at)
            name = text[at:equals]
            # nix-env writes names without quotes, even those that need them (`x y = 1;`): everything before ` = `.
            if not name or name[0] in '"({[' or "." in name or "\n" in name:
                self._fail(at)
            items[name], at = self.value(equals + 3)
            at = self._skip(at)
            if text[at : at + 1] != ";":
                self._fail(at)
            at = self._skip(at + 1)
        return items, at + 1

    def _string(self, at: int) -> tuple[str, int]:
        text = self._text
        parts = []
        while True:
            end = text.find('"', at)
            if end < 0:
                self._fail(at)
            escape = text.find("\\", at, end)
            if escape < 0:
                parts.append(text[at:end])
                if "${" in parts[-1]:
                    self._fail(at)
                return "".join(parts), end + 1
            parts.append(text[at:escape])
            if "${" in parts[-1]:
                self._fail(at)
            following = text[escape + 1 : escape + 2]
            if text.startswith("${", escape + 1):
                parts.append("${")
                at = escape + 3
            else:
                parts.append(_ESCAPES.get(following, following))
                at = escape + 2

    def _word(self, at: int, end: int) -> Plain:
        word = self._text[at:end]
        if word in _WORDS:
            return _WORDS[word]
        try:
            return int(word)
        except ValueError:
            pass
        if word[:1] in {"-", ""} or not (word[0].isdigit() or word[0] == "."):
            self._fail(at)
        try:
            return float(word)
        except ValueError:
            self._fail(at)

    def _fail(self, at: int) -> NoReturn:
        raise NotPlainError(at)
