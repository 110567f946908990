"""Text of unknown origin, made fit for a terminal: colours stay, everything else that would be obeyed goes.

What a builder, another machine or a cache says may contain escape sequences, which can rename the terminal's window,
write to the clipboard or hide what was shown before. Pure; called by `logs` for a text that has such a sequence in it.
Semantics: filterANSIEscapes of Nix. Source: ECMA-48, section 5.4.
"""

from __future__ import annotations

_ESCAPE = "\x1b"
_STRING_OPENERS = "]PX^_"  # OSC, DCS, SOS, PM, APC: everything up to their end is theirs
_BELL, _STRING_END = "\x07", "\x1b\\"
_CONTROLS = dict.fromkeys([7, *range(0x80, 0xA0)])  # the bell, and controls of one character that mean the same


def harmless(text: str, *, colours: bool) -> str:
    """Return `text` without control sequences, or with none but those that set colours."""
    parts = []
    position = 0
    while True:
        found = text.find(_ESCAPE, position)
        parts.append(text[position:] if found < 0 else text[position:found])
        if found < 0:
            return "".join(parts).translate(_CONTROLS)
        position = _end_of_sequence(text, found)
        if colours and text.startswith("[", found + 1) and text[position - 1] == "m":
            parts.append(text[found:position])


def _end_of_sequence(text: str, start: int) -> int:
    """Return where the sequence that begins with the escape character at `start` has ended."""
    opener = text[start + 1 : start + 2]
    if opener == "[":
        end = start + 2
        while end < len(text) and "\x20" <= text[end] <= "\x3f":  # parameters and intermediates
            end += 1
        return end + 1 if end < len(text) and "\x40" <= text[end] <= "\x7e" else end
    if opener and opener in _STRING_OPENERS:
        ends = [at + len(mark) for mark in (_BELL, _STRING_END) if (at := text.find(mark, start)) >= 0]
        return min(ends) if ends else len(text)
    return start + 2 if opener else start + 1
