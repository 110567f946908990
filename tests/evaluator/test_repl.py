from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from evaluator.errors import EvalError
from evaluator.repl import Repl
from evaluator.session import Session
from storefs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from storefs.config import Config
    from tests.conftest import Runner


@pytest.fixture
def typed(config: Config) -> Callable[..., str]:
    """Lines typed into one repl give this output."""
    repl = Repl(Session(config, read_only=True))

    def enter(*lines: str) -> str:
        repl.out = io.StringIO()
        for line in lines:
            repl.line(line, final=True)
        return repl.out.getvalue()

    enter.repl = repl  # type: ignore[attr-defined]
    return enter


def test_values_are_shown_one_level_deep(typed: Callable[..., str]) -> None:
    assert typed("1 + 1") == "2\n"
    assert typed('{ a = 1 + 1; b = { c = 1; }; "x y" = [ ]; }') == '{ a = 2; b = { ... }; "x y" = [ ]; }\n'
    assert typed(":p { b = { c = 1 + 1; }; }") == "{ b = { c = 2; }; }\n"


def test_errors_inside_of_sets_do_not_spoil_the_rest(typed: Callable[..., str]) -> None:
    assert typed('{ a = throw "no"; b = 1; }') == "{ a = «error: no»; b = 1; }\n"


def test_names_stay(typed: Callable[..., str]) -> None:
    assert typed("x = 1", "y = x + 1", "y") == "2\n"
    assert typed(":a { z = 3; }", "x + z") == "Added 1 variables.\n4\n"


def test_types_and_documentation(typed: Callable[..., str]) -> None:
    assert typed(":t 1") == "an integer\n"
    assert "strict" in typed(":doc builtins.foldl'").lower() or "fold" in typed(":doc builtins.foldl'").lower()
    assert typed(":doc builtins.readFile").startswith("builtins.")
    with pytest.raises(UsageError, match="does not have documentation"):
        typed(":doc 1")


def test_derivations_and_functions_have_short_forms(typed: Callable[..., str]) -> None:
    shown = typed('derivation { name = "n"; system = "s"; builder = "b"; }')
    assert shown.startswith("«derivation /")
    assert shown.endswith("-n.drv»\n")
    assert typed("x: x").startswith("«lambda")


def test_files_are_loaded_and_reloaded(typed: Callable[..., str], scratch: Path) -> None:
    file = scratch / "f.nix"
    file.write_text("{ answer = 41; }")
    typed(f":l {file}")
    assert typed("answer") == "41\n"
    file.write_text("{ answer = 42; }")
    typed(":r")
    assert typed("answer") == "42\n"


def test_completion(typed: Callable[..., str]) -> None:
    repl = typed.repl  # type: ignore[attr-defined]
    typed("set = { alpha = 1; alto = 2; beta = 3; }")
    assert repl.complete("set.al") == ["set.alpha", "set.alto"]
    assert "builtins" in repl.complete("buil")
    assert repl.complete("nothing.x") == []


def test_unknown_commands_are_named(typed: Callable[..., str]) -> None:
    with pytest.raises(UsageError, match="unknown command ':frob'"):
        typed(":frob")


def test_expressions_may_take_several_lines(run: Runner) -> None:
    done = run("verglas", "repl", stdin="let\n  x = 1;\nin\n  x + 1\nabort ''no''\n3\n")
    assert done.stdout == "2\n3\n"
    assert done.stderr.startswith("error: evaluation aborted with the following error message: 'no'")


def test_every_builtin_has_documentation(typed: Callable[..., str]) -> None:
    from evaluator.core.values import PrimOp
    from evaluator.repl import documentation

    builtins = typed.repl.session.state.builtins  # type: ignore[attr-defined]
    functions = [value for value in builtins.values() if isinstance(value, PrimOp)]
    assert len(functions) > 90
    for function in functions:
        assert documentation(function).startswith("builtins.")


def test_what_fails_is_an_error_of_the_program(typed: Callable[..., str]) -> None:
    with pytest.raises(EvalError, match="no"):
        typed('throw "no"')
