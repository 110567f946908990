"""Small programs with known answers, one file of values and one of errors, compiled, uncompiled and by real Nix.

`values.golden` and `errors.golden` hold the answers; UPDATE_GOLDEN=1 rewrites them (then read the difference).
"""

from __future__ import annotations

import json
import os
import re
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
def test_uncompiled_too_a_hundred_thousand_calls_may_be_nested():
    expression = "let f = n: if n == 100000 then n else f (n + 1); in f 0"
    command = [sys.executable, HERE / "uncompiled.py", "nix-instantiate", "--eval", "-E", expression]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("100000\n", "")


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
        if "error: integer overflow" in known and done.returncode == 0:
            continue  # 2.8 drops the high bits
        assert essence(got) == essence(known.replace("/base/", "/")), case


def essence(text: str) -> list[str]:
    """What 2.8 and we say alike: values in full; of errors what is wrong, and the names that were perhaps meant.

    Our errors read as those of current Nix; here they are put into the words of 2.8. Where they happened is left out:
    2.8 blames other operands. Tokens in messages about syntax have names there, with us they are shown as written.
    """
    if not text.startswith("error:"):
        return [text]
    lines = [line.strip().replace("(string)", "«string»") for line in text.splitlines()]
    start = max(number for number, line in enumerate(lines) if line.startswith("error: "))
    message = lines[start].partition(", unexpected")[0]
    for pattern, words in IN_THE_WORDS_OF_2_8:
        message = re.sub(pattern, words, message)
    return [message, *[line for line in lines[start:] if line.startswith("Did you mean")]]


IN_THE_WORDS_OF_2_8 = [
    (r"expected (an? .*) but found (.*?): .*", r"value is \2 while \1 was expected"),
    (r"(cannot coerce .* to a string): .*", r"\1"),
    (r"(attempt to call something which is not a function but [^:]*): .*", r"\1"),
    (r"(cannot compare .* with [^;]*); .*", r"\1"),
    (r"function 'anonymous lambda' called", "anonymous function called"),
    (r"function '(.*)' called", r"'\1' called"),
    (r"^(error: (?:'.*'|anonymous function)) at \S* called", r"\1 called"),
    (r"'builtins.head' called on an empty list", "list index 0 is out of bounds"),
    (r"'builtins.tail' called", "'tail' called"),
    (r"'builtins.elemAt' called with index (-?\d+) .*", r"list index \1 is out of bounds"),
    (r"arguments passed to builtins.replaceStrings have", "arguments to 'replaceStrings' have"),
    (r"(attribute '.*' missing) for call to .*", r"\1"),
    (r"attribute '\"(.*)\"' missing", r"attribute '\1' missing"),
    (r"error: (assertion '.*' failed|.* is not equal to .*)", "error: assertion failed"),
    (r"attribute 'key' required", "attribute 'key' missing"),
    (r"integer overflow in dividing .*", "overflow in integer division"),
    (r"unknown hash (?:type|algorithm) '(.*?)'.*", r"unknown hash type '\1'"),
]
