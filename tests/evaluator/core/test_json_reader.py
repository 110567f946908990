from __future__ import annotations

import pytest

from evaluator.errors import EvalError
from tests.evaluator.evaluating import new_state, shown, value
from tests.lang.programs import on_deep_stack


def read(text: str) -> str:
    """What a JSON text is in Nix."""
    state = new_state()
    state.globals["text"] = text
    return str(state.evaluate_text("builtins.toJSON (builtins.fromJSON text)"))


@pytest.mark.parametrize(
    "text", ["", "{", "[1,]", "nul", "NaN", "Infinity", "1 2", "'a'", "[1", '"\\ud800"', '"\\u0000"']
)
def test_what_is_not_json_is_an_error(text: str) -> None:
    state = new_state()
    state.globals["text"] = text
    with pytest.raises(EvalError):
        state.evaluate_text("builtins.fromJSON text")


def test_numbers_beyond_64_bits() -> None:
    assert shown('builtins.fromJSON "9223372036854775807"') == "9223372036854775807"
    assert shown('builtins.fromJSON "-9223372036854775809"') == "-9.22337e+18"
    with pytest.raises(EvalError, match="outside of Nix integer range"):
        value('builtins.fromJSON "18446744073709551615"')


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_number_of_thousands_of_digits_is_an_error(sign: str) -> None:
    with pytest.raises(EvalError, match="number overflow"):
        value(f'builtins.fromJSON "{sign}{"1" * 5000}"')


# Answers of real Nix 2.8, found by asking it.
@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("\ufeff [ 1 ]\n", "[1]"),
        ("-0", "0"),
        ("0e1", "0"),
        ("1E+2", "100"),
        ("123456789012345678901", "1.23457e+20"),
        ('{"a": 1, "a": 2}', '{"a":2}'),
        ('"\\u00e9\\uD83D\\ude00 \\/\\b\\f"', '"é😀 /\\u0008\\u000c"'),
        ('["\\"", "é"]', '["\\"","é"]'),
    ],
)
def test_what_is_read(text: str, written: str) -> None:
    assert read(text) == written


@pytest.mark.parametrize(
    "text",
    [
        *("01", "-", "1.", ".5", "1e", "1e+", "+1", "tru", "[1 2]", '{"a" 1}', "{1:2}", '{"a":1,}', "1e999", "nullx"),
        *(
            '"\\x"',
            '"\\u12g4"',
            '"a\nb"',
            '"\\ude00"',
            '"\\ud83dx"',
            '"\\ud83d\\u0041"',
            "[",
            '"',
            '"\\',
            '"\\u',
            "[,]",
        ),
    ],
)
def test_what_nix_refuses_too(text: str) -> None:
    with pytest.raises(EvalError):
        read(text)


def test_an_error_says_where() -> None:
    with pytest.raises(EvalError, match="at line 2, column 3"):
        read('{ "a": 1,\n  b: 2 }')


def test_deep_json_is_read() -> None:
    depth = 100_000
    expression = f"""with builtins;
        let text = concatStringsSep "" (genList (i: if i < {depth} then "[" else "]") {2 * depth});
            down = n: x: if x == [ ] then n else down (n + 1) (head x);
        in down 1 (fromJSON text)"""
    assert on_deep_stack(lambda: value(expression)) == depth
