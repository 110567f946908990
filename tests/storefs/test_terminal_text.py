"""What builders print can't do more to a terminal than to colour it."""

from __future__ import annotations

import pytest

from storefs import logs
from storefs.terminal_text import harmless

RED = "\x1b[31;1mred\x1b[0m"


@pytest.mark.parametrize(
    ("text", "colours", "expected"),
    [
        ("plain, with a\ttab and ünïcode", False, "plain, with a\ttab and ünïcode"),
        (RED, True, RED),
        (RED, False, "red"),
        ("a\x1b[2Jb\x1b[1;1Hc", True, "abc"),
        ("a\x1b]0;a new title\x07b", True, "ab"),
        ("a\x1b]52;c;Y2xpcGJvYXJk\x1b\\b", True, "ab"),
        ("a\x1bP+q544e\x1b\\b\x1b_application\x1b\\c", True, "abc"),
        ("a\x1b]0;without an end", True, "a"),
        ("a\x9b2Jb\x9d0;titlec", True, "a2Jb0;titlec"),
        ("ding\a dong\x1b", True, "ding dong"),
        ("a\x1bcb\x1b[", True, "ab"),
    ],
)
def test_only_colours_pass(text: str, colours: bool, expected: str) -> None:
    assert harmless(text, colours=colours) == expected


@pytest.mark.parametrize("json", [False, True])
def test_whatever_is_logged_goes_through(json: bool) -> None:
    seen: list[str] = []
    before = (logs.sink.emit, logs.sink.json)
    logs.sink.emit, logs.sink.json = seen.append, json
    try:
        logs.log(logs.ERROR, "a\x1b]0;title\ab")
    finally:
        logs.sink.emit, logs.sink.json = before
    # Who reads the machine-readable log decides for itself; there the escape is spelled out.
    assert seen == (['@nix {"action": "msg", "level": 0, "msg": "a\\u001b]0;title\\u0007b"}'] if json else ["ab"])
