"""Sets that one expression makes again and again begin with the names of the first ones; how attributes are found."""

from __future__ import annotations

import pytest

from evaluator.core.calls import call1, force_attrs
from evaluator.core.values import force
from evaluator.errors import NixError
from tests.evaluator.evaluating import new_state, value


def made(expression: str) -> object:
    """What four evaluations of one expression give; `i` is the number of each."""
    return value(f"map (i: {expression}) [ 0 1 2 3 ]")


@pytest.mark.parametrize("size", [1, 5, 6, 11, 90, 250])
def test_every_set_of_an_expression_has_its_own_values(size: int) -> None:
    text = "".join(f"n{size - at} = i + {at}; " for at in range(size))
    assert made(f"{{ {text}}}") == [{f"n{size - at}": i + at for at in range(size)} for i in range(4)]


def test_recursive_sets_inherited_and_dynamic_attributes_are_like_it() -> None:
    assert made('rec { b = a; a = i; ${if i > 1 then "d" else null} = b; }') == [
        {"b": 0, "a": 0},
        {"b": 1, "a": 1},
        {"b": 2, "a": 2, "d": 2},
        {"b": 3, "a": 3, "d": 3},
    ]
    assert made("{ inherit i; inherit ({ x = i; }) x; }") == [{"i": i, "x": i} for i in range(4)]


def test_what_is_made_of_a_set_does_not_change_the_next_one() -> None:
    changed = 'removeAttrs (s // { c = i; }) [ "b" ]'
    assert made(f"let s = {{ a = i; b = 2; }}; in [ ({changed}) s ]") == [
        [{"a": i, "c": i}, {"a": i, "b": 2}] for i in range(4)
    ]


def test_positions_are_those_of_the_text_in_every_set() -> None:
    columns = made('(builtins.unsafeGetAttrPos "b" { a = i; b = i; }).column')
    assert isinstance(columns, list)
    assert columns[0] > 0
    assert columns == columns[:1] * 4


def test_names_that_were_computed_are_found_and_others_are_not() -> None:
    assert value("""
        let s = { ab = 1; cd = 2; }; n = "a" + "b";
        in [ s.${n} (s ? ${n}) (builtins.hasAttr n s) (builtins.getAttr n s) (s.${"x" + n} or 7) (s ? ${n + "x"})
             (builtins.hasAttr (n + "y") s) (s ? x.y) (builtins.intersectAttrs { ${n} = 3; } s) ]
    """) == [1, True, True, 1, 7, False, False, False, {"ab": 1}]


def test_a_set_of_more_names_than_16_bits_count_is_searched_too() -> None:
    assert value("""
        let s = builtins.listToAttrs (builtins.genList (i: { name = "n${toString i}"; value = i; }) 50000);
        in [ s.n49999 (s.n50000 or null) (builtins.length (builtins.attrNames (s // { n7 = 8; }))) ]
    """) == [49999, None, 50000]


def test_a_set_that_could_not_be_made_is_no_hindrance_for_the_next_one() -> None:
    function = new_state().evaluate_text('i: { a = i; b = i; ${if i == 2 then "a" else "c"} = i; }')
    for i in (0, 1, 2, 3):
        if i == 2:
            with pytest.raises(NixError, match="already defined"):
                call1(function, i)
        else:
            assert force(force_attrs(call1(function, i))["c"]) == i
