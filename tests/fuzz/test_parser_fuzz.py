"""Damaged and random texts: a syntax tree, or an error of the program with its position, and soon."""

from __future__ import annotations

import time
from random import Random

import pytest

from evaluator.errors import NixError
from tests.lang.programs import HERE, new_state, on_deep_stack, read_cases

PUNCTUATION = b"\" '' ${ } { [ ] ( ) ; : @ ... . \0 \xff \xe2\x82 \\ /* # < > ~/ ./ = ? ! - // ++ ''${ ''' $$"
WORDS = b"or let in rec inherit a 1 x.y .5 <a/b> http://a 1.0e400 99999999999999999999"
TOKENS = [*PUNCTUATION.split(b" "), *WORDS.split(b" "), b"\n", b"\r"]


def texts(random: Random, count: int) -> list[bytes]:
    seeds = [case.encode() for case in read_cases(HERE / "values.txt")]
    made = []
    for _ in range(count):
        kind = random.randrange(3)
        if kind == 0:
            made.append(random.randbytes(random.randrange(40)))
        elif kind == 1:
            made.append(b" ".join(random.choices(TOKENS, k=random.randrange(25))))
        else:
            made.append(damaged(bytearray(random.choice(seeds)), random))
    return made


def damaged(text: bytearray, random: Random) -> bytes:
    for _ in range(random.randrange(1, 6)):
        at = random.randrange(len(text) + 1)
        kind = random.randrange(3)
        if kind == 0:
            text[at:at] = random.choice(TOKENS)
        elif kind == 1:
            del text[at : at + random.randrange(8)]
        else:
            text[at : at + 1] = random.randbytes(1)
    return bytes(text)


def test_any_text_is_parsed_or_refused_with_a_position(pytestconfig: pytest.Config):
    cases = texts(Random(1), 500_000 if pytestconfig.getoption("--deep") else 1500)

    def run() -> None:
        state = new_state()
        for number, case in enumerate(cases):
            start = time.process_time()
            try:
                str(state.parse(case, "/base", "/base/x.nix", "file" if number % 2 else "string"))
            except NixError as error:
                error.positions = state.positions
                assert error.pos > 0, case
                assert " at " in str(error), case
            assert time.process_time() - start < 1, case

    on_deep_stack(run)
