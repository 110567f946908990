"""Evaluations for tests: no store, no configuration, a search path if wanted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from evaluator.core.calls import force_deep
from evaluator.evaluation import EvalSettings, open_evaluation, to_python
from evaluator.print_value import show_value
from evaluator.services import Services
from evaluator.store_io import StoreIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluator.core.state import EvalState


def new_state(
    environment: Mapping[str, str] | None = None, search_path: Sequence[tuple[str, str]] = (), **settings: object
) -> EvalState:
    io = StoreIO("/nix/store", environment or {}, lambda: None, Services(), read_only=True)
    return open_evaluation(io, EvalSettings(**settings), search_path)  # type: ignore[arg-type]


def shown(expression: str, **settings: object) -> str:
    """The fully evaluated value of an expression, printed as `--eval --strict` prints it."""
    return show_value(force_deep(new_state(**settings).evaluate_text(expression, os.getcwd())))  # type: ignore[arg-type]


def value(expression: str, **settings: object) -> object:
    """The value of an expression as plain Python."""
    return to_python(new_state(**settings).evaluate_text(expression, os.getcwd()))  # type: ignore[arg-type]
