from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.core.values import set_stack_size
from evaluator.errors import EvalError, NixTypeError, StackOverflow
from tests.evaluator.evaluating import new_state, value
from tests.lang.programs import on_deep_stack

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
# A set with one of these is shown as something else; Hypothesis finds such words in the code that is loaded.
NAMES = TEXTS.filter(lambda name: name not in {"outPath", "__toString"})
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
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


@pytest.mark.parametrize("number", [0, 7, -1, 10, 99, 100, 2**63 - 1, -(2**63) + 1])
def test_integers_are_written_in_full(number: int) -> None:
    assert value(f"builtins.toJSON ({number})") == str(number)
    assert value("builtins.toJSON (-9223372036854775807 - 1)") == str(-(2**63))


def test_functions_have_no_json() -> None:
    with pytest.raises(NixTypeError, match="cannot convert a function to JSON"):
        value("builtins.toJSON { a = x: x; }")


def test_deep_json_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(EvalError, match="stack overflow"):
        value("builtins.toJSON (builtins.foldl' (a: b: [ a ]) 1 (builtins.genList (x: x) 20000))")


@pytest.mark.parametrize("builtin", ["toJSON", "toXML"])
def test_where_little_stack_is_left_deep_values_are_an_error_and_not_a_crash(builtin: str) -> None:
    def write() -> None:
        set_stack_size(150_000)
        value(f"builtins.{builtin} (builtins.foldl' (a: b: [ a ]) 1 (builtins.genList (x: x) 3900))")

    with pytest.raises(StackOverflow):
        on_deep_stack(write)
