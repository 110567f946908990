"""The ATerm subset that `.drv` files are written in: nested lists and tuples whose only leaves are quoted strings.

This module knows strings and punctuation, not derivations; `derivation.py` gives the pieces their meaning and is the
only caller. Both directions work on the whole text with a handful of C-speed passes, because an evaluation writes and
reads thousands of these files: a loop per character, or even per string, would show in its profile.

The trick is a stand-in for quotes. Decoding UTF-8 with `surrogateescape` yields lone surrogates in U+DC80..U+DCFF
only, so U+D800..U+D802 can't occur in any Nix string and may mark what escaping would make ambiguous.

Grammar: `printString` and `parseString` of Nix's derivations.cc. The five characters `\\ " \\n \\r \\t` are escaped;
a backslash before any other character stands for that character.
"""

from __future__ import annotations

from storefs.errors import StoreError

# What separates strings in text that is being made, until `render` turns it into real quotes.
QUOTE = "\ud802"

_BACKSLASH = "\ud800"
_INNER_QUOTE = "\ud801"


class BadATermError(StoreError):
    """Text that claims to be a derivation and is not one that Nix could have written."""


def render(text: str, strings: int, *, verbatim: bool = False) -> bytes:
    """Turn text whose quotes are written as `QUOTE` into the bytes of an ATerm, escaping everything between them.

    Args:
        text: punctuation and unescaped strings, every string between two `QUOTE`s.
        strings: how many strings the caller put in.
        verbatim: escape nothing, as `printUnquotedString` of Nix does.

    Raises:
        ValueError: a string contained `QUOTE` itself, which no decoded Nix string can.
    """
    if text.count(QUOTE) != 2 * strings:
        raise ValueError("a string of the derivation contains a lone surrogate")
    if verbatim:
        return text.replace(QUOTE, '"').encode("utf-8", "surrogateescape")
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return (
        text.replace('"', '\\"')
        .replace("\n", "\\n")
        .replace("\r", "\\r")
        .replace("\t", "\\t")
        .replace(QUOTE, '"')
        .encode("utf-8", "surrogateescape")
    )


def split(data: bytes) -> tuple[list[str], list[str]]:
    """Take an ATerm apart into (punctuation, strings), where `punctuation[i]` stands before `strings[i]`.

    There is always one more punctuation than there are strings: the last one closes the term.

    Raises:
        BadATermError: a string is not closed.
    """
    text = data.decode("utf-8", "surrogateescape")
    if "\\" not in text:
        pieces = text.split('"')
    else:
        # First hide what an escape protects, then the remaining quotes are the real ones.
        text = (
            text.replace("\\\\", _BACKSLASH)
            .replace('\\"', _INNER_QUOTE)
            .replace('"', QUOTE)
            .replace("\\n", "\n")
            .replace("\\r", "\r")
            .replace("\\t", "\t")
        )
        if "\\" in text:
            # `\x` for an ordinary character x: never written by Nix, understood by its parser. What follows one of
            # these backslashes can't be a hidden backslash or quote, so dropping them all is right.
            text = text.replace("\\", "")
        pieces = text.replace(_INNER_QUOTE, '"').replace(_BACKSLASH, "\\").split(QUOTE)
    if not len(pieces) & 1:
        raise BadATermError("unterminated string in derivation")
    return pieces[0::2], pieces[1::2]
