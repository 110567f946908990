from __future__ import annotations

import _thread
import time
from _thread import start_new_thread
from typing import TYPE_CHECKING

import pytest

from evaluator.errors import NixError, ThrownError
from evaluator.eval_thread import EvalThread
from evaluator.evaluation import to_python
from storefs.errors import StoreError
from tests.evaluator.evaluating import new_state, value

if TYPE_CHECKING:
    from collections.abc import Callable


def test_values_become_plain_python() -> None:
    assert value('{ a = [ 1 2.5 "x" null true ]; p = /p; s = "${builtins.toFile "n" "c"}"; }') == {
        "a": [1, 2.5, "x", None, True],
        "p": "/p",
        "s": "/nix/store/mlm4z4paf9x52kjjlb1fsy1akzn0sw9a-n",
    }


def test_functions_have_no_counterpart() -> None:
    state = new_state()
    with pytest.raises(TypeError, match="function"):
        to_python(state.evaluate_text("{ f = x: x; }"))


def test_an_evaluation_without_a_store_refuses_what_needs_one() -> None:
    with pytest.raises(StoreError):
        value('builtins.readFile (derivation { name = "n"; system = "s"; builder = "b"; })')


def test_settings_decide_what_the_language_says() -> None:
    assert value("builtins.currentSystem", current_system="m68k-linux") == "m68k-linux"
    assert value('builtins.getEnv "X"', environment={"X": "y"}) == "y"
    assert value('builtins.getEnv "X"', environment={"X": "y"}, pure_eval=True) == ""


def test_the_deep_stack_holds_deep_recursion() -> None:
    state = new_state()
    expression = "let f = n: if n == 0 then 0 else 1 + f (n - 1); in f 50000"
    assert EvalThread().run(lambda: state.evaluate_text(expression)) == 50_000


def test_endless_recursion_is_an_error() -> None:
    state = new_state()
    with pytest.raises(NixError, match=r"stack overflow|infinite recursion"):
        EvalThread().run(lambda: state.evaluate_text("let f = n: 1 + f (n + 1); in f 0"))


def test_errors_pass_through_the_thread() -> None:
    state = new_state()
    with pytest.raises(ThrownError, match="x"):
        EvalThread().run(lambda: state.evaluate_text('throw "x"'))


def test_work_outside_of_the_thread_returns_and_fails_inside() -> None:
    import threading

    thread = EvalThread()
    main = threading.get_ident()

    def body() -> list[object]:
        def fail() -> None:
            raise KeyError("outside")

        answers: list[object] = [thread.outside(threading.get_ident) == main, threading.get_ident() == main]
        with pytest.raises(KeyError, match="outside"):
            thread.outside(fail)
        return answers

    assert thread.run(body) == [True, False]


def test_the_first_request_may_come_before_the_thread_that_begins_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = EvalThread()

    def begin(work: Callable[..., object], words: tuple[object, ...]) -> None:
        start_new_thread(work, words)
        time.sleep(0.05)

    monkeypatch.setattr(_thread, "start_new_thread", begin)
    assert thread.run(lambda: thread.outside(_thread.get_ident)) == _thread.get_ident()
