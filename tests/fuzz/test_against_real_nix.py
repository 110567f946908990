"""Random programs: never a crash, and the answers of real Nix."""

from __future__ import annotations

import re
import subprocess
from random import Random
from typing import TYPE_CHECKING

import pytest

from evaluator.core.calls import force_deep
from evaluator.errors import NixError
from evaluator.print_value import show_value
from tests.fuzz.programs import Generator
from tests.fuzz.typed_programs import TypedGenerator
from tests.lang.programs import answer, new_state, on_deep_stack

if TYPE_CHECKING:
    from pathlib import Path

    from tests.oracle.real_nix import RealNix


def programs(seed: int, count: int) -> list[str]:
    generator = Generator(Random(seed))
    return [generator.program() for _ in range(count)]


def test_random_programs_give_a_value_or_an_error_of_the_program():
    def run() -> None:
        for program in programs(1, 300):
            assert isinstance(answer(program), str), program

    on_deep_stack(run)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(4))
def test_real_nix_answers_random_programs_likewise(seed, real_nix: RealNix):
    cases = programs(100 + seed, 40)
    ours = on_deep_stack(lambda: [answer(case) for case in cases])
    env = {**real_nix.env, "HOME": "/home/user"}
    for case, mine in zip(cases, ours, strict=True):
        done = subprocess.run(
            [str(real_nix.bin / "nix-instantiate"), "--eval", "--strict", "--readonly-mode", "-E", case],
            env=env,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        theirs = (done.stdout + done.stderr).strip("\n")
        # Which of two failing operands fails first is up to the evaluator; that something fails is not.
        if theirs.startswith("error:"):
            assert mine.startswith("error:"), case
        else:
            assert mine.replace("/base/", "/") == theirs, case


def typed_programs(seed: int, count: int, strays: float) -> list[str]:
    generator = TypedGenerator(Random(seed), strays)
    made = [generator.program() for _ in range(count)]
    return [f"builtins.tryEval (let value = {program}; in builtins.deepSeq value value)" for program in made]


def answers_of_one_evaluation(cases: list[str]) -> list[str]:
    """Our answers: printed values, and errors as "error: ..."; anything else that is raised is a bug."""

    def run() -> list[str]:
        state = new_state()
        found = []
        for case in cases:
            try:
                found.append(show_value(force_deep(state.evaluate_text(case, "/"))))
            except NixError as error:
                error.positions = state.positions
                found.append(f"error: {error}")
        return found

    return on_deep_stack(run)


def test_programs_with_a_wrong_type_in_them_give_errors_of_the_program():
    answers_of_one_evaluation(typed_programs(2, 300, strays=0.05))


@pytest.mark.slow
@pytest.mark.oracle
def test_real_nix_answers_typed_programs_likewise(real_nix: RealNix, scratch: Path, pytestconfig: pytest.Config):
    """Thousands in one process: what has a value with us is put into one list, and compared as a whole."""
    for seed in range(40 if pytestconfig.getoption("--deep") else 1):
        cases = typed_programs(1000 + seed, 2500 if pytestconfig.getoption("--deep") else 600, strays=0.0)
        answers = answers_of_one_evaluation(cases)
        good = [(case, mine) for case, mine in zip(cases, answers, strict=True) if not mine.startswith("error:")]
        assert len(good) > len(cases) * 0.98
        file = scratch / "programs.nix"
        file.write_text("[\n" + "\n".join(f"({case})" for case, _ in good) + "\n]\n", errors="surrogateescape")
        done = subprocess.run(
            [str(real_nix.bin / "nix-instantiate"), "--eval", "--strict", "--readonly-mode", str(file)],
            env=real_nix.env,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )
        assert not done.returncode, done.stderr
        rest = done.stdout.strip().removeprefix("[ ")
        for case, mine in good:
            theirs = likewise(mine).match(rest)
            assert theirs, (case, mine, rest[: len(mine) + 100])
            rest = rest[theirs.end() :]
        assert rest == "]"


def likewise(answer: str) -> re.Pattern[str]:
    """What real Nix 2.8 may print where we print `answer`.

    It keeps lists of one and two elements inside a value, so that a copy of the value is another list; those it prints
    again, where a longer list and ours are "repeated". Which values are copied is no property of the language.
    """
    return re.compile(re.escape(answer).replace("«repeated»", r"(?:«repeated»|\[ .*? \])") + " ", re.DOTALL)


@pytest.mark.slow
@pytest.mark.oracle
def test_what_is_an_error_is_one_in_real_nix_too(real_nix: RealNix, pytestconfig: pytest.Config):
    cases = typed_programs(3, 4000 if pytestconfig.getoption("--deep") else 400, strays=0.05)
    answers = answers_of_one_evaluation(cases)
    # Bytes that are no UTF-8 are an error of `toJSON` in later versions; 2.8 writes them.
    wrong = [
        case
        for case, mine in zip(cases, answers, strict=True)
        if mine.startswith("error:") and "[json.exception.type_error.316]" not in mine
    ]
    assert wrong
    for case in wrong[: 1000 if pytestconfig.getoption("--deep") else 40]:
        done = subprocess.run(
            [str(real_nix.bin / "nix-instantiate"), "--eval", "--strict", "--readonly-mode", "-E", case],
            env=real_nix.env,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1, case
