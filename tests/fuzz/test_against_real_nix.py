"""Random programs: never a crash, and the answers of real Nix."""

from __future__ import annotations

import subprocess
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.programs import Generator
from tests.lang.programs import answer, on_deep_stack

if TYPE_CHECKING:
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
