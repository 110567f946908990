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
        ("./a/${b}/c.${d}", '(/base/a/ + b + "/c." + d)'),
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
        ("{ z = 1; inherit b a; inherit (c) e d; ${f} = 2; }", '{ inherit a b; inherit (c) d e; z = 1; "${f}" = 2; }'),
        ("let inherit (a) b; in b", "(let inherit (a) b; in b)"),
        ("with a; assert b; c", "(with a; assert b; c)"),
        ('a.b."c d"."if".${e} or f', '(a).b."c d"."if"."${e}" or (f)'),
        ('"a\\n\\t\\r\\"\\$\\\\${b}é"', '("a\\n\\t\\r\\"\\$\\\\" + b + "é")'),
        ("./a/${b}/c.${d}", '(/base/a + "/" + b + "/c." + d)'.replace('/a + "/"', "/a/")),
        ("{ }: {a ? b}: c@{...}: a b [ ]", "({  }: ({ a ? b }: ({ ... } @ c: (a b [ ]))))"),
        ("a > b || a >= b", "((__lessThan b a) || (! (__lessThan a b)))"),
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
    outcome = parsed(data, None)
    if isinstance(outcome, SyntaxProblem):
        assert 0 <= outcome.offset <= len(data)
    else:
        show(outcome[0])


def parsed(data: bytes, skim_from: int | None):
    """What the parser returns or raises for `data`, with trees in place of what was skimmed."""
    try:
        tree, free, redefined, text = parser.parse(data, skim_from)
    except SyntaxProblem as problem:
        return problem
    return in_full(tree, text), free, redefined


def in_full(tree, text: bytes | None):
    if type(tree) is dict:
        return {name: in_full(item, text) for name, item in tree.items()}
    if type(tree) is list:
        return [in_full(item, text) for item in tree]
    if type(tree) is not tuple:
        return tree
    if tree and tree[0] == parser.SKIMMED and text is not None:
        return in_full(parser.parse_skimmed(text, *tree[1:]), text)
    return tuple(in_full(item, text) for item in tree)


FIRST = " ".join(f"a{n} = {n};" for n in range(8))  # read in full in every set


def same_skimmed(body: str) -> None:
    """A set with these bindings behind the first eight is the same, and is refused the same, when it is skimmed."""
    for opening in ("{", "rec {", "let"):
        data = f"{opening} {FIRST} {body} {'in a1' if opening == 'let' else '}'}".encode("utf-8", "surrogatepass")
        full, skimmed = parsed(data, None), parsed(data, 0)
        if isinstance(full, SyntaxProblem):
            assert (type(skimmed), str(skimmed), skimmed.offset) == (type(full), str(full), full.offset), data
        else:
            assert skimmed == full, data


@pytest.mark.parametrize(
    "body",
    [
        "b = c;",
        "b = x: y: x + z; c = { d, e ? f, ... }@g: d e g h;",
        "b = let c = 1; in c + d; e = with f; g; h = if i then j else k; l = assert m; n;",
        "b = \"x${c}y\" + ''z ${d}'' + \"\\n\" + ./e/${f}/g + <h/i> + ~/j + 12.5 + 9223372036854775807;",
        "b = c.d or e; f = g ? h.i; j = !k -> -l; m = [ n (o p) ]; q = r or s;",
        "b = { c = d; }; b.e = f; b = { g = h; };",
        "b = (({ c = ./d/e; f = x/y; })); b.g = h;",
        "b = rec { c = d; }; b.e = f;",
        "b = c { d.e = 1; d = { f = 2; }; inherit g; inherit (h) i; }; j = rec { __sub = 1; };",
        'b = { "c" = 1; "c" = 2; };',
        'b = f { "c" = 1; ${"c"} = 2; };',
        'b = f { "c${d}" = 1; "e" = 2; inherit "e"; };',
        "b = f { c = 1; c.d = 2; };",
        "b = { c, c }: d;",
        "b = 9223372036854775808;",
        "b = f 9223372036854775808;",
        "b = f 1.e999;",
        'b = f "a\0b";',
        "b = f ./a/ ;",
        "b = f (c;",
        'b = f "c',
        "b = f { ${c}.d = e; inherit ${f}; };",
        "__sub = 1; b = 1 - 2; c = x: __lessThan: x;",
        "b = let { body = c; }; b.d = e;",
        "b = f == g == h;",
        "a1 = f 2;",
        "a1.b = 2;",
    ],
)
def test_what_is_skimmed_is_what_is_read_in_full(body):
    same_skimmed(body)


@given(st.lists(TOKENS, max_size=30).map(" ".join))
def test_token_soup_is_skimmed_as_it_is_read(text):
    same_skimmed(f"b = {text};")


def test_most_values_of_a_long_set_are_skimmed():
    text = b"{ " + b"".join(b"b%d = f { c = %d; d = x: x; }; " % (n, n) for n in range(800)) + b"}"
    tree, _, _, _ = parser.parse(text, parser.LONG)
    assert sum(value[0] == parser.SKIMMED for _, value, _ in tree[3].values()) == 792
    assert parser.parse(text[: parser.LONG - 10].rpartition(b";")[0] + b";}", parser.LONG)[3] is None
