from __future__ import annotations

import pytest

from evaluator.core.regex_syntax import RegexSyntaxError, parse_regex
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


# Also from real Nix: what the search of libstdc++ finds where the longest match, or another choice of groups, would be
# something else.
CHOICES = [
    ('match "(a|ab)(bc|c)?" "abc"', '[ "a" "bc" ]'),
    ('split "(ab?)(bc)?(x|xy)?" "abc"', '[ "" [ "ab" null null ] "c" ]'),
    ('split "(a|ab)(c|bcd)(d*)" "abcd"', '[ "" [ "a" "bcd" "" ] "" ]'),
    ('match "(a*)*" "aa"', '[ "" ]'),
    ('match "(a*)+" "aa"', '[ "" ]'),
    ('match "((a)|b)*" "ab"', '[ "b" "a" ]'),
    ('match "(a?){3}" "a"', '[ "" ]'),
    ('match "(a|b){0}c" "c"', "[ null ]"),
    ('split "(|a)" "ba"', '[ "" [ "" ] "b" [ "a" ] "" [ "" ] "" ]'),
    ('split "a*$" "baa"', '[ "b" [ ] "" [ ] "" ]'),
    ('split "(é|x)" "aéb"', '[ "a" [ "é" ] "b" ]'),
]


@pytest.mark.parametrize(("question", "answer"), CHOICES)
def test_choices_are_those_of_nix(question: str, answer: str) -> None:
    assert shown(f"builtins.{question}") == answer


@pytest.mark.parametrize("pattern", ["((a{1,300}){1,300}b)*(a|a)*", "a{99999}b{9}", "(a{200}){600}"])
def test_huge_repetitions_are_refused(pattern: str) -> None:
    with pytest.raises(EvalError, match="memory limit exceeded by regular expression"):
        value(f'builtins.match "{pattern}" "x"')


@pytest.mark.parametrize(
    "pattern",
    ["(a|a)*b", "(a*)*b", "(a+)+b", "((a?)*)*b", "(.*/)*x", "(a|aa)*b", "(.*)(.*)(.*)(.*)x", "a{0,9}(a{0,9})*b"],
)
@pytest.mark.parametrize("builtin", ["match", "split"])
def test_no_pattern_takes_exponential_time(builtin: str, pattern: str) -> None:
    text = "a" * 2000
    answers = {"match": "null", "split": f'[ "{text}" ]'}
    assert shown(f'builtins.{builtin} "{pattern}" "{text}"') == answers[builtin]


def test_long_texts_are_matched() -> None:
    text = "ab:c:" * 20_000 + "7"
    assert value(f'builtins.match "([a-z]+:)*([0-9]+)" "{text}"') == ["c:", "7"]
    assert value(f'builtins.match "(a|b|ab|c|:)*7" "{text}"') == [":"]


def test_a_match_is_looked_for_behind_one_that_needed_many_trials() -> None:
    # What had been remembered as a failure is the start of the next match.
    text = "a" * 300
    assert value(f'builtins.split "(a|aa)*b|a" "{text}"') == ["", [None]] * 300 + [""]


def test_back_references_to_nothing_exist() -> None:
    with pytest.raises(RegexSyntaxError):
        parse_regex(b"(a)\\1")
