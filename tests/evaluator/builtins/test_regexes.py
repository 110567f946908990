from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.builtins.posix_regex import Regex
from evaluator.builtins.regex_simulation import compile_machine
from evaluator.builtins.regex_syntax import RegexSyntaxError, parse_regex
from evaluator.errors import EvalError
from tests.evaluator.evaluating import shown, value

# Answers of real Nix 2.8 (libstdc++), found by asking it.
MATCHES = [
    ("ab", "abc", "null"),
    ("abc", "abc", "[ ]"),
    ("a(b)(c)", "abc", '[ "b" "c" ]'),
    ("(a)|(b)", "b", '[ null "b" ]'),
    ("(a|ab)(c|bcd)(d*)", "abcd", '[ "a" "bcd" "" ]'),
    ("[[:space:]]+([[:upper:]]+)[[:space:]]+", "  FOO   ", '[ "FOO" ]'),
    ("[]abc]+", "a]c", "[ ]"),
    ("[^]abc]+", "xyz", "[ ]"),
    ("[a\\\\]+", "a\\\\a", "[ ]"),
    ("a{2}{3}", "aaaaaa", "[ ]"),
    ("x^a", "xa", "null"),
    (".", "\\n", "[ ]"),
    ("..", "é", "[ ]"),
    (".", "é", "null"),
    ("(é)+", "éé", '[ "é" ]'),
]
SPLITS = [
    ("(a)b", "abc", '[ "" [ "a" ] "c" ]'),
    ("([ac])", "abc", '[ "" [ "a" ] "b" [ "c" ] "" ]'),
    ("(a)|([c])", "abc", '[ "" [ "a" null ] "b" [ null "c" ] "" ]'),
    ("([[:upper:]]+)", "  FOO   ", '[ "  " [ "FOO" ] "   " ]'),
    ("", "ab", '[ "" [ ] "a" [ ] "b" [ ] "" ]'),
    ("x", "abc", '[ "abc" ]'),
    ("a|ab", "abab", '[ "" [ ] "" [ ] "" ]'),
    ("^a", "aa", '[ "" [ ] "a" ]'),
]
ERRORS = [
    "(",
    ")",
    "*",
    "a|*b",
    "(*a)",
    "[",
    "[b-a]",
    "[[:foo:]]",
    "a{2,1}",
    "{",
    "\\\\d",
    "\\\\]",
    "a\\\\",
    "[a-b-c]",
    "^*",
]


@pytest.mark.parametrize(("pattern", "text", "answer"), MATCHES)
def test_match_answers_as_nix(pattern: str, text: str, answer: str) -> None:
    assert shown(f'builtins.match "{pattern}" "{text}"') == answer


@pytest.mark.parametrize(("pattern", "text", "answer"), SPLITS)
def test_split_answers_as_nix(pattern: str, text: str, answer: str) -> None:
    assert shown(f'builtins.split "{pattern}" "{text}"') == answer


@pytest.mark.parametrize("pattern", ERRORS)
def test_invalid_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(EvalError, match="invalid regular expression"):
        value(f'builtins.match "{pattern}" "x"')


def test_huge_repetitions_are_refused() -> None:
    with pytest.raises(EvalError, match="memory limit exceeded by regular expression"):
        value('builtins.match "((a{1,300}){1,300}b)*(a|a)*" "x"')


@pytest.mark.parametrize("pattern", [b"(a|a)*b", b"(a*)*b", b"(a+)+b", b"((a?)*)*b", b"(.*/)*x"])
def test_patterns_that_would_take_exponential_time_are_simulated(pattern: bytes) -> None:
    assert Regex(pattern).fullmatch(b"a" * 3000) is None


def test_deterministic_loops_are_left_to_the_fast_engine() -> None:
    assert re.compile is not None
    spans = Regex(b"([a-z]+:)*([0-9]+)").fullmatch(b"ab:c:" * 20_000 + b"7")
    assert spans is not None
    assert spans[2] == (100_000, 100_001)


def test_back_references_to_nothing_exist() -> None:
    with pytest.raises(RegexSyntaxError):
        parse_regex(b"(a)\\1")


ATOMS = st.sampled_from([b"a", b"b", b"c", b".", b"[ab]", b"[^a]"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(b"".join),
        st.tuples(inner, inner).map(lambda pair: b"(" + pair[0] + b"|" + pair[1] + b")"),
        # A loop around something that may be empty is where the engines may name other groups.
        st.tuples(ATOMS, st.sampled_from([b"*", b"+", b"?", b"{2}"])).map(b"".join),
        inner.map(lambda body: b"(" + body + b")"),
    ),
    max_leaves=8,
)


@given(PATTERNS, st.text("abc", max_size=8))
def test_both_engines_find_the_same(pattern: bytes, text: str) -> None:
    tree, groups = parse_regex(pattern)
    subject = text.encode()
    regex = Regex(pattern)
    machine = compile_machine(tree, groups, longest=True)
    assert regex.fullmatch(subject) == machine.fullmatch(subject)
    found = regex.search(subject, 0)
    simulated = machine.search(subject, 0)
    assert (found and found[0][0]) == (simulated and simulated[0][0])
