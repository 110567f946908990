"""Small programs with known answers, one file of values and one of errors, compiled, uncompiled and by real Nix.

`values.golden` and `errors.golden` hold the answers; UPDATE_GOLDEN=1 rewrites them (then read the difference).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lang.programs import HERE, answers, read_cases, write_cases

if TYPE_CHECKING:
    from tests.oracle.real_nix import RealNix

FILES = ["values", "errors"]
ROOT = HERE.parents[1]


@pytest.mark.parametrize("name", FILES)
def test_answers_are_the_known_ones(name):
    cases = read_cases(HERE / f"{name}.txt")
    got = answers(cases)
    golden = HERE / f"{name}.golden"
    if os.environ.get("UPDATE_GOLDEN"):
        write_cases(golden, got)
    known = read_cases(golden)
    assert len(known) == len(cases)
    for case, a, b in zip(cases, got, known, strict=True):
        assert a == b, case


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_answers_uncompiled_are_the_same(name):
    done = subprocess.run(
        [sys.executable, "-m", "tests.lang.programs", str(HERE / f"{name}.txt")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    cases = read_cases(HERE / f"{name}.txt")
    for case, a, b in zip(cases, json.loads(done.stdout), read_cases(HERE / f"{name}.golden"), strict=True):
        assert a == b, case


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("name", FILES)
def test_real_nix_gives_the_same_answers(name, real_nix: RealNix):
    cases = read_cases(HERE / f"{name}.txt")
    env = {**real_nix.env, "HOME": "/home/user"}
    for case, known in zip(cases, read_cases(HERE / f"{name}.golden"), strict=True):
        done = subprocess.run(
            [str(real_nix.bin / "nix-instantiate"), "--eval", "--strict", "--readonly-mode", "-E", case],
            env=env,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        got = (done.stdout + done.stderr).strip("\n")
        assert essence(got) == essence(known.replace("/base/", "/")), case


def essence(text: str) -> list[str]:
    """What 2.8 and we say alike: values in full; of errors the message and the place, not the layout and the trace.

    Tokens in messages about syntax have their names in 2.8 and are shown as they are written by us.
    """
    if not text.startswith("error:"):
        return [text]
    lines = [line.strip().replace("(string)", "«string»") for line in text.splitlines()]
    start = max(number for number, line in enumerate(lines) if line.startswith("error: "))
    places = [line for line in lines[start:] if line.startswith(("at ", "Did you mean"))]
    return [lines[start].partition(", unexpected")[0], *places]
