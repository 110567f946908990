"""Random patterns: `match` and `split` find what real Nix's do, group by group."""

from __future__ import annotations

import json
import subprocess
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.evaluator.evaluating import value

if TYPE_CHECKING:
    from pathlib import Path

    from tests.oracle.real_nix import RealNix

ATOMS = ["a", "b", "c", ".", "[ab]", "[^a]", "[[:alpha:]]"]
REPETITIONS = ["*", "+", "?", "*", "+", "?", "{2}", "{1,2}", "{0,2}", "{1,}", "{0}"]


def branches(rng: Random, depth: int) -> str:
    return "|".join([sequence(rng, depth) for _ in range(rng.choice([1, 1, 1, 2, 2, 3]))])


def sequence(rng: Random, depth: int) -> str:
    return "".join([repeated(rng, depth) for _ in range(rng.choice([1, 1, 2, 2, 3]))])


def repeated(rng: Random, depth: int) -> str:
    kind = rng.random()
    if kind < 0.05:
        return rng.choice("^$")
    if kind < 0.1:
        text = rng.choice(["()", "(|a)", "(a|)"])
    elif kind < 0.55 and depth:
        text = "(" + branches(rng, depth - 1) + ")"
    else:
        text = rng.choice(ATOMS)
    return text + rng.choice(REPETITIONS) if rng.random() < 0.35 else text


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(3))
def test_random_patterns_match_as_in_real_nix(seed: int, real_nix: RealNix, tmp_path: Path) -> None:
    rng = Random(seed)
    cases = []
    for _ in range(150):
        pattern = branches(rng, 3).replace("$", "\\$")
        for _ in range(3):
            text = "".join(rng.choices("aabbcx", k=rng.randrange(6)))
            cases.append(f'(builtins.{rng.choice(["match", "split"])} "{pattern}" "{text}")')
    program = tmp_path / "cases.nix"
    program.write_text("[\n" + "\n".join(cases) + "\n]")
    words = [str(real_nix.bin / "nix-instantiate"), "--eval", "--strict", "--json", "--readonly-mode", str(program)]
    theirs = json.loads(subprocess.run(words, env=real_nix.env, capture_output=True, check=True, timeout=60).stdout)
    ours = value(program.read_text())
    assert isinstance(ours, list)
    for case, mine, expected in zip(cases, ours, theirs, strict=True):
        assert mine == expected, case
