"""Package names as nix-env sees them: `name-version`, the selectors that users type, and which of two is newer.

Pure text. Used by everything that picks packages: nix-env, nix-channel, the closure diff. Rules: the Nix manual,
"nix-env", section "Selectors"; names.cc of Nix 2.8.
"""

from __future__ import annotations

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class BadSelectorError(StoreError):
    """A selector whose name part is no regular expression."""

    def __init__(self, selector: str, reason: str) -> None:
        super().__init__(f"selector '{selector}' is not a regular expression: {reason}")
        self.selector = selector


class PackageName:
    """A package's full name, split where the version begins: at the first dash that no letter follows.

    Attributes:
        full: as in `apache-httpd-2.0.48`.
        name: as in `apache-httpd`.
        version: as in `2.0.48`; '' if there is none.
    """

    __slots__ = ("full", "name", "version")

    def __init__(self, full: str) -> None:
        self.full = full
        self.name, self.version = split_name(full)

    def __repr__(self) -> str:
        return f"PackageName({self.full!r})"


class Selector:
    """What a user wrote to mean one or more packages: an extended regular expression and, perhaps, a version.

    Attributes:
        text: as written.
        name: parsed like a package name; the name part is the regular expression, `*` stands for everything.
        hits: how many packages it matched so far; callers count.
    """

    __slots__ = ("_matches_name", "hits", "name", "text")

    def __init__(self, text: str) -> None:
        """Raises BadSelectorError."""
        self.text = text
        self.name = PackageName(text)
        self.hits = 0
        self._matches_name = _name_matcher(text, self.name.name)

    def matches(self, other: PackageName) -> bool:
        """Whether it selects this package: the whole name matches, and the version is equal if one was given."""
        if self.name.version and self.name.version != other.version:
            return False
        return self._matches_name(other.name)


def selectors(words: Iterable[str]) -> list[Selector]:
    """Return the selectors that operands stand for.

    Raises:
        BadSelectorError: one of them is no regular expression.
    """
    return [Selector(word) for word in words]


def split_name(full: str) -> tuple[str, str]:
    """Split `name-version` at the first dash that no letter follows; the version is '' if there is none."""
    at = full.find("-")
    while at >= 0:
        following = full[at + 1 : at + 2]
        if following and not (following.isascii() and following.isalpha()):
            return full[:at], full[at + 1 :]
        at = full.find("-", at + 1)
    return full, ""


def _name_matcher(text: str, pattern: str) -> Callable[[str], bool]:
    if pattern == "*":
        return lambda _name: True
    if not any(character in "\\^$.[]|()*+?{}" for character in pattern):
        return lambda name: name == pattern
    # Extended regular expressions of POSIX, the same that the language's `match` has; most selectors are plain names.
    from evaluator.core.regex_syntax import RegexSyntaxError, RegexTooComplexError  # noqa: PLC0415
    from evaluator.core.regexes import whole_matcher  # noqa: PLC0415

    try:
        matches: Callable[[str], bool] = whole_matcher(pattern)
    except (RegexSyntaxError, RegexTooComplexError) as error:
        raise BadSelectorError(text, str(error) or "too complex") from error
    return matches
