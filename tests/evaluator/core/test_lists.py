"""Builtins for lists: what is made for one builtin only is not made as a list."""

from __future__ import annotations

import pytest

from evaluator.errors import NixError
from tests.evaluator.evaluating import value

#: A consumer, and what it makes of lists of lists, pairs or strings: (before the list, mapped function).
CONSUMERS = [
    ("concatLists", "x: if x > 2 then [ x (x + 1) ] else [ ]"),
    ("listToAttrs", 'x: { name = "n${toString x}"; value = [ x ]; }'),
    ('concatStringsSep ","', "x: toString (x * 2)"),
]
LISTS = [
    "[ ]",
    "[ 1 2 3 4 ]",
    "(map (x: x + 1) [ 1 2 3 ])",
    "(concatLists (map (x: [ x x ]) [ 3 1 ]))",
    '[ 1 3 (throw "element") ]',
    "[ 1 true ]",
    '(throw "list")',
    "null",
]


@pytest.mark.parametrize("items", LISTS)
@pytest.mark.parametrize(("consumer", "function"), [*CONSUMERS, ("concatLists", "x: x"), ("listToAttrs", "[ ]")])
def test_what_map_makes_for_one_builtin_is_what_it_makes(consumer: str, function: str, items: str) -> None:
    """A list that nobody else sees is not made; whatever comes out, errors too, is as if it were."""

    def outcome(expression: str) -> object:
        try:
            return value(f"with builtins; let f = {function}; xs = {items}; in {expression}")
        except NixError as error:
            return str(error.message)

    seen = outcome(f"let ys = map f xs; in [ ({consumer} ys) ys ]")
    direct = outcome(f"genList (n: {consumer} (map f xs)) 3")
    if isinstance(seen, list):
        assert direct == [seen[0]] * 3
    else:
        assert direct == seen


def test_map_may_be_another_function() -> None:
    assert value("with builtins; let map = f: xs: [ [ f ] xs ]; in genList (n: concatLists (map n [ 2 ])) 3") == [
        [0, 2],
        [1, 2],
        [2, 2],
    ]
    assert value(
        "with builtins; concatLists (map (x: if x == 0 then [ ] else concatLists (map (y: [ x y ]) [ 5 6 ])) [ 0 1 ])"
    ) == [
        1,
        5,
        1,
        6,
    ]
