"""Run small Nix programs in this process: the printed value, or the error as a user sees it.

As a program it reads programs from a case file and prints the answers as JSON, with the core as plain Python:

    python -m tests.lang.programs tests/lang/values.txt
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEPARATOR = "\n---\n"
BASE_PATH = "/base"


def read_cases(file: Path) -> list[str]:
    return [case.strip("\n") for case in file.read_text().split(SEPARATOR)]


def write_cases(file: Path, cases: list[str]) -> None:
    file.write_text(SEPARATOR.join(cases) + "\n")


def new_state(**settings):
    from evaluator.evaluation import EvalSettings, open_evaluation
    from evaluator.services import Services
    from evaluator.store_io import StoreIO

    io = StoreIO("/nix/store", {"HOME": "/home/user"}, lambda: None, Services(), read_only=True)
    return open_evaluation(io, EvalSettings(**settings))


def answer(text: str, **settings) -> str:
    """Evaluate deeply; return the value as `nix-instantiate --eval --strict` prints it, or "error: ..."."""
    from evaluator.core.calls import force_deep
    from evaluator.errors import NixError
    from evaluator.print_value import show_value

    state = new_state(**settings)
    try:
        return show_value(force_deep(state.evaluate_text(text, BASE_PATH)))
    except NixError as error:
        error.positions = state.positions
        error.show_trace = settings.get("show_trace", False)
        return f"error: {error}"


def on_deep_stack(function):
    """Run `function` as commands do, on the evaluation's thread, and return its result."""
    from evaluator.eval_thread import EvalThread

    return EvalThread().run(function)


def answers(cases: list[str]) -> list[str]:
    return on_deep_stack(lambda: [answer(case) for case in cases])


if __name__ == "__main__":
    from tests.lang.uncompiled import install

    install()
    json.dump(answers(read_cases(Path(sys.argv[1]))), sys.stdout)
