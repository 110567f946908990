"""Characters and the keys that make them, by QEMU's names, on a US keyboard."""

from __future__ import annotations

CHARACTERS: dict[str, str] = {
    **{letter.upper(): f"shift-{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"},
    **{shifted: f"shift-{digit}" for digit, shifted in zip("1234567890", "!@#$%^&*()", strict=True)},
    " ": "spc",
    "\n": "ret",
    "\t": "tab",
    "-": "minus",
    "_": "shift-minus",
    "=": "equal",
    "+": "shift-equal",
    "[": "bracket_left",
    "{": "shift-bracket_left",
    "]": "bracket_right",
    "}": "shift-bracket_right",
    ";": "semicolon",
    ":": "shift-semicolon",
    "'": "apostrophe",
    '"': "shift-apostrophe",
    "`": "grave_accent",
    "~": "shift-grave_accent",
    "\\": "backslash",
    "|": "shift-backslash",
    ",": "comma",
    "<": "shift-comma",
    ".": "dot",
    ">": "shift-dot",
    "/": "slash",
    "?": "shift-slash",
}
