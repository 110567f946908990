import sys
import threading

import pytest

from storefs.formats.json_input import parse_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": [1, "\xc3\xa4", null]}', {"a": [1, "ä", None]}),
        (b"[" * 900 + b"]" * 900, None),
        (b"[" + b'{"a": [{}]},' * 1000 + b"0]", None),
        (b'["' + b"[" * 2000 + b'\\"{"]', ["[" * 2000 + '"{']),
    ],
)
def test_json_is_read(text: bytes, value: object) -> None:
    found = parse_json(text)
    assert value is None or found == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nul",
        b"\xff",
        b"[" * 901 + b"]" * 901,
        b'{"":' * 100_000,
        b"[" * 1_000_000,
        b'"\\' + b"[" * 1000,
    ],
)
def test_what_is_none_or_too_deep_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def test_deep_texts_are_refused_when_an_evaluation_has_lifted_the_recursion_limit() -> None:
    refused = []

    def read() -> None:
        try:
            parse_json(b"[" * 100_000)
        except ValueError:
            refused.append(True)

    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(1 << 30)
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(limit)
    assert refused
