from __future__ import annotations

import pytest

from evaluator.errors import EvalError
from tests.evaluator.evaluating import shown, value


def test_toml() -> None:
    text = 'a = 1\\nb = [1.5, true]\\n[t.u]\\ns = \\"x\\"\\n'
    assert shown(f'builtins.fromTOML "{text}"') == '{ a = 1; b = [ 1.5 true ]; t = { u = { s = "x"; }; }; }'


def test_toml_dates_need_a_feature() -> None:
    with pytest.raises(EvalError, match="Dates and times are not supported"):
        value('builtins.fromTOML "a = 1979-05-27"')
    assert value('builtins.fromTOML "a = 1979-05-27"', experimental_features=["parse-toml-timestamps"]) == {
        "a": {"_type": "timestamp", "value": "1979-05-27"}
    }


@pytest.mark.parametrize("text", ["a = ", "a = 9223372036854775808", "a = 1\\na = 2", 'a = \\"\\\\u0000\\"'])
def test_what_is_not_toml_is_an_error(text: str) -> None:
    with pytest.raises(EvalError, match=r"while parsing TOML|null bytes"):
        value(f'builtins.fromTOML "{text}"')


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_number_of_thousands_of_digits_is_an_error(sign: str) -> None:
    with pytest.raises(EvalError, match="does not fit into 64 bits"):
        value(f'builtins.fromTOML "a = {sign}{"1" * 5000}"')
