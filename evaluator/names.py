"""Strings and names of attributes as Nix 2.8 writes them, in syntax trees and in messages. It imports nothing."""

from __future__ import annotations

_ESCAPES = {'"': '\\"', "\\": "\\\\", "$": "\\$", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ID_START = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_ID_PART = _ID_START | frozenset("0123456789'-")


def show_string(text: str) -> str:
    """Return a string literal."""
    return '"' + "".join([_ESCAPES.get(c, c) for c in text]) + '"'


def show_name(name: str) -> str:
    """Return an identifier, quoted where it has to be."""
    if not name:
        return '""'
    if name == "if":
        return '"if"'
    if name[0] in _ID_START and all(c in _ID_PART for c in name):
        return name
    return show_string(name)
