"""Deep recursion, long lists, endless evaluation: a result or a clean error, never a crash."""

from __future__ import annotations

import _thread
import sys
import time

import pytest

from evaluator.core.values import interrupt
from evaluator.errors import Interrupted
from tests.lang.programs import answer, new_state, on_deep_stack

ENDLESS = "builtins.genericClosure { startSet = [ { key = 0; } ]; operator = x: [ { key = x.key + 1; } ]; }"


@pytest.mark.parametrize(
    "text",
    [
        "let f = n: if n == 0 then 0 else 1 + f (n - 1); in f 10000",
        "let f = n: if n == 0 then { v = 0; } else { v = 1 + (f (n - 1)).v; }; in (f 10000).v",
        "(builtins.foldl' (s: n: { v = s.v + 1; }) { v = 0; } (builtins.genList (x: x) 10000)).v",
        "with builtins; let l = genList (n: if n == 0 then 0 else 1 + elemAt l (n - 1)) 10001; in elemAt l 10000",
    ],
)
def test_ten_thousand_levels(text):
    assert on_deep_stack(lambda: answer(text)) == "10000"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('builtins.length (builtins.filter (x: true) (builtins.genList (x: throw "a") 1000000))', "1000000"),
        ("builtins.foldl' (a: b: a + b) 0 (builtins.genList (x: x) 1000000)", "499999500000"),
        ("builtins.length (builtins.concatMap (x: [ x x ]) (builtins.genList (x: x) 500000))", "1000000"),
        ("builtins.length (builtins.sort (a: b: a > b) (builtins.genList (x: x) 20000))", "20000"),
    ],
)
def test_a_million_elements(text, expected):
    assert on_deep_stack(lambda: answer(text)) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "let f = x: f x; in f 1",
        "let f = x: 1 + f x; in f 1",
        "let f = x: [ (f x) ]; in f 1 == f 1",
        "let f = x: { a = f x; }; in builtins.toJSON (f 1)",
        'let f = x: { outPath = f x; }; in "${f 1}"',
        "let f = x: { __functor = f; a = f x; }; in builtins.deepSeq (f 1) 1",
    ],
)
def test_endless_recursion_is_an_error(text):
    result = on_deep_stack(lambda: answer(text))
    assert result.startswith("error: ")


@pytest.mark.skipif("cpython" not in sys.modules["evaluator.core.values"].__file__, reason="for the compiled core")
@pytest.mark.parametrize(
    "text",
    [
        "let id = x: x; go = n: v: if n == 0 then [ v ] else go (n - 1) (id v); in go 300000 0",
        "builtins.foldl' (l: x: builtins.map (y: y) l) [ 1 ] (builtins.genList (x: x) 300000)",
        "[ (builtins.foldl' (f: x: (y: f y)) (y: y) (builtins.genList (x: x) 300000)) ]",
    ],
)
def test_a_long_chain_is_freed_on_an_ordinary_stack(text):
    state, value = on_deep_stack(lambda: (state := new_state(), state.evaluate_text(text)))
    assert len(value) == 1
    del state, value  # a segmentation fault if every link freed the next


@pytest.mark.slow
@pytest.mark.skipif("cpython" not in sys.modules["evaluator.core.values"].__file__, reason="for the compiled core")
def test_an_interrupt_ends_an_endless_evaluation_within_a_tenth_of_a_second():
    asked = []

    def ask() -> None:
        asked.append(time.process_time())
        interrupt()

    def body() -> float:
        state = new_state()
        # The evaluation holds the interpreter's lock but for the moments at which it looks for interrupts.
        _thread.start_new_thread(ask, ())
        with pytest.raises(Interrupted):
            state.evaluate_text("builtins.foldl' (a: b: a + b) 0 (builtins.genList (x: x) 100000000)")
        return time.process_time() - asked[0]

    # Of processor time, for other programs run, too; and tenfold, for a list of 800 MB is freed in it.
    assert on_deep_stack(body) < 0.1 * 10
