from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.errors import EvalError, NixTypeError
from tests.evaluator.evaluating import new_state, shown, value

DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(DOCUMENTS)
def test_json_round_trips(document: object) -> None:
    state = new_state()
    state.globals["document"] = json.dumps(document)
    assert json.loads(str(state.evaluate_text("builtins.toJSON (builtins.fromJSON document)"))) == document


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("1.5", "1.5"),
        ("1000000.0", "1e+06"),
        ("{ b = 1; a = [ ]; }", '{"a":[],"b":1}'),
        ('"\\"\\\\\\n\\r\\t"', '"\\"\\\\\\n\\r\\t"'),
        ('{ outPath = "x"; y = abort "no"; }', '"x"'),
        ('{ __toString = self: "s" + self.x; x = "t"; }', '"st"'),
        ("[ true false null ]", "[true,false,null]"),
        ('"é"', '"é"'),
    ],
)
def test_json_text_is_that_of_nix(expression: str, text: str) -> None:
    assert value(f"builtins.toJSON ({expression})") == text


def test_control_characters_are_escaped() -> None:
    assert value('builtins.toJSON (builtins.fromJSON "\\"\\\\u0001\\"")') == '"\\u0001"'


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


def test_functions_have_no_json() -> None:
    with pytest.raises(NixTypeError, match="cannot convert a function to JSON"):
        value("builtins.toJSON { a = x: x; }")


def test_deep_json_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(EvalError, match="stack overflow"):
        value("builtins.toJSON (builtins.foldl' (a: b: [ a ]) 1 (builtins.genList (x: x) 20000))")


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


def test_xml() -> None:
    document = value('builtins.toXML { a = [ 1 "<&>\\"" null ]; f = { x, y ? 1, ... }@z: x; p = /p; }')
    assert document == (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        "<expr>\n"
        "  <attrs>\n"
        '    <attr name="a">\n'
        "      <list>\n"
        '        <int value="1" />\n'
        '        <string value="&lt;&amp;&gt;&quot;" />\n'
        "        <null />\n"
        "      </list>\n"
        "    </attr>\n"
        '    <attr name="f">\n'
        "      <function>\n"
        '        <attrspat ellipsis="1" name="z">\n'
        '          <attr name="x" />\n'
        '          <attr name="y" />\n'
        "        </attrspat>\n"
        "      </function>\n"
        "    </attr>\n"
        '    <attr name="p">\n'
        '      <path value="/p" />\n'
        "    </attr>\n"
        "  </attrs>\n"
        "</expr>\n"
    )


def test_a_derivation_is_written_once_in_xml() -> None:
    document = value('let d = derivation { name = "n"; system = "s"; builder = "b"; }; in builtins.toXML [ d d ]')
    assert str(document).count("<repeated />") >= 1
    assert str(document).count('<attr name="builder">') == 2  # of the derivation, and of its drvAttrs
