"""The parser on texts that are Nix, almost Nix, and nothing of the kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.core import parser
from evaluator.core.lexer import SyntaxProblem
from evaluator.core.show import show
from tests.lang.programs import on_deep_stack


def shown(text: str) -> str:
    return show(parser.parse(text.encode())[0], "/base")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b: a", "(a: (b: a))".replace("b: a", "b: a")),
        ("{ b, a ? 1, ... } @ args: args", "({ a ? 1, b, ... } @ args: args)"),
        ("1 + 2 * 3 - 4", "(__sub (1 + (__mul 2 3)) 4)"),
        ("a // b // c", "(a // (b // c))"),
        ("!a ? b && c", "((! ((a) ? b)) && c)"),
        ("- a b", "(__sub 0 (a b))"),
        ("a -> b -> c", "(a -> (b -> c))"),
        ("a ++ b ++ c", "(a ++ (b ++ c))"),
        ("a <= b", "(! (__lessThan b a))"),
        ("a.b.c or d", "(a).b.c or (d)"),
        ("f a.b (c) [ d ]", "(f (a).b c [ (d) ])"),
        ("{ x.y = 1; x.z = 2; }", "{ x = { y = 1; z = 2; }; }"),
        ("{ inherit a; inherit (b) c d; }", "{ inherit a; inherit (b) c d; }"),
        ('"a${b}c"', '("a" + b + "c")'),
        ("./a/${b}/c", '(/base/a/ + b + "/c")'),
        ("<a/b>", '(__findFile __nixPath "a/b")'),
        ("with a; assert b; c", "(with a; assert b; c)"),
        ("let { body = 1; }", "(rec { body = 1; }).body"),
        ("a.or or b", "(a).or or (b)"),
        ("x-y", "x-y"),
        ("a-1", "a-1"),
        ("1-1", "(__sub 1 1)"),
        ("a/b", "/base/a/b"),
        ("a /b", "(a /b)"),
        ("a / b", "(__div a b)"),
        ("x:y", '"x:y"'),
        ("x: y", "(x: y)"),
        ("1.5e3", "1500"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("rec{a=1;}", "rec { a = 1; }"),
        ("if a then b else c", "(if a then b else c)"),
    ],
)
def test_what_is_parsed(text, expected):
    assert shown(text) == expected


@pytest.mark.parametrize("text", ["a b", "{ a }: a", "''\n  x\n y''", '"\\${x}"', "x: ./. + x", "[ 1 2.5 (-1) ]"])
def test_what_is_shown_parses_to_the_same(text):
    once = shown(text)
    assert shown(once) == once


def test_free_variables_are_those_outside_of_any_with():
    _, free, _, _ = parser.parse(b"let a = b; in x: with c; d x + { inherit e; }.e")
    assert set(free) == {"b", "c"}


def test_ten_thousand_nested_parentheses_and_lists():
    def parse():
        depth = 10_000
        parser.parse(b"(" * depth + b"1" + b")" * depth)
        parser.parse(b"[" * depth + b"]" * depth)

    on_deep_stack(parse)


TOKENS = st.sampled_from(
    [
        "a",
        "b",
        "x.y",
        "1",
        "2.5",
        '"s"',
        '"${',
        "''",
        "''${",
        "}",
        "{",
        "[",
        "]",
        "(",
        ")",
        ":",
        ";",
        ",",
        ".",
        "?",
        "@",
        "=",
        "==",
        "!=",
        "<",
        ">",
        "<=",
        ">=",
        "&&",
        "||",
        "->",
        "//",
        "++",
        "+",
        "-",
        "*",
        "/",
        "!",
        "...",
        "if",
        "then",
        "else",
        "assert",
        "with",
        "let",
        "in",
        "rec",
        "inherit",
        "or",
        "./a",
        "<n>",
        "~/x",
        "http://u",
        "#",
        "/*",
        "*/",
        "\\",
        "$",
        "''$",
        "'''",
        "\n",
        "\x00",
        "é",
        "\x80",
    ]
)


@given(st.lists(TOKENS, max_size=30).map(" ".join))
def test_token_soup_parses_or_is_refused_with_a_place(text):
    check(text.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=60))
def test_any_bytes_parse_or_are_refused_with_a_place(data):
    check(data)


def check(data: bytes) -> None:
    try:
        tree, _, _, _ = parser.parse(data)
    except SyntaxProblem as problem:
        assert 0 <= problem.offset <= len(data)
    else:
        show(tree)
