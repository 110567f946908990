"""The parse cache gives what the parser gives, and damage to it is a miss."""

from __future__ import annotations

import os

import pytest

from evaluator.core import parser
from evaluator.core.calls import force_deep
from evaluator.core.lexer import SyntaxProblem
from evaluator.core.show import show
from evaluator.core.values import force
from evaluator.errors import NixError
from evaluator.parse_cache import SMALLEST, ParseCache
from evaluator.print_value import show_value
from tests.evaluator.evaluating import new_state
from tests.lang.programs import on_deep_stack

TEXT = (
    b"{ pkgs, lib ? pkgs.lib, ... }@args: with lib; rec {\n"
    + b"".join(
        b'  package-%d = pkgs.callPackage ./p/%d { a = [ 1 2.5 "x${toString %d}" ]; f = x: x + %d; };\n' % (n, n, n, n)
        for n in range(60)
    )
    + b"  inherit (pkgs) one two;\n  nested.deeply = let x = { y = ''a\n b''; }; in assert x ? y; x.y or free;\n}\n"
)


@pytest.fixture
def directory(scratch):
    return str(scratch / "cache")


def filled(directory: str) -> str:
    """Write the cache for TEXT; return the path of its one file."""
    cache = ParseCache(directory)
    cache.parse(TEXT)
    cache.write()
    [name] = os.listdir(directory)
    return f"{directory}/{name}"


def test_a_tree_from_the_cache_is_the_one_that_was_parsed(directory):
    filled(directory)
    tree, free, redefined, blobs = ParseCache(directory).parse(TEXT)
    parsed = parser.parse(TEXT)
    assert blobs is not None
    assert len(blobs) > 1000
    assert show(tree, "/base", None, blobs) == show(parsed[0], "/base")
    assert (free, redefined) == parsed[1:3]


PACKED = (
    b'let long = rec { a.b = f { x = 1; y = [ 2 3 ]; z = throw "a message of some length"; };\n'
    b"  f = x: x; inherit (pkgs) one; };\n"
    b"pkgs = rec {\n"
    + b"".join(
        b'  package-%d = call { n = %d; inherit one; } "a text that is long enough";\n' % (n, n) for n in range(60)
    )
    + b"  one = 1; call = set: text: { inherit set text; }; inherit (set) two; set = { two = one + one; };\n};\n"
    b"where = set: map (n: (builtins.unsafeGetAttrPos n set).line) (builtins.attrNames set);\n"
    b"in { inherit pkgs; places = [ (where pkgs) (where long) (where pkgs.set) ]; n = pkgs.package-7.set.n;\n"
    b'failing = assert { a = { b = [ 1 2 3 "and so on and so forth" ]; }; } == 1; 2; again = long.a.b.z; }\n'
)


def answers(directory: str, path: str, *, warm: bool) -> list[str]:
    """What the attributes of PACKED are, the messages of those that fail included."""
    state = new_state(show_trace=True)
    state.parse_cache = cache = ParseCache(directory)
    found = []
    for name in ("pkgs", "places", "n", "failing", "again"):
        try:
            found.append(show_value(force_deep(force(state.evaluate_file(path)[name]))))
        except NixError as error:
            error.positions = state.positions
            found.append(error.report(show_trace=True))
    assert (cache.parse(PACKED)[3] is not None) == warm
    cache.write()
    return found


def test_an_evaluation_from_the_cache_is_the_same_to_the_last_position(directory, scratch):
    (scratch / "packed.nix").write_bytes(PACKED)
    path = str(scratch / "packed.nix")
    cold = answers(directory, path, warm=False)
    assert answers(directory, path, warm=True) == cold
    assert "package-59 = { set = { n = 59; one = 1; }; text =" in cold[0]
    assert '({ a = { b = [ (1) (2) (3) ("and so on and so forth") ]; }; } == 1)' in cold[3]
    assert "packed.nix:68:" in cold[3]


def test_a_hit_does_not_write_again(directory):
    path = filled(directory)
    cache = ParseCache(directory)
    cache.parse(TEXT)
    os.unlink(path)
    cache.write()
    assert os.listdir(directory) == []


def test_every_damaged_byte_is_a_miss(directory):
    path = filled(directory)
    with open(path, "rb") as file:
        data = file.read()
    for at in range(0, len(data), 97):
        with open(path, "wb") as file:
            file.write(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert ParseCache(directory).parse(TEXT)[3] is None, at
    for size in (0, 3, 11, 12, len(data) // 2, len(data) - 1):
        with open(path, "wb") as file:
            file.write(data[:size])
        assert ParseCache(directory).parse(TEXT)[3] is None, size


def test_another_text_is_a_miss(directory):
    filled(directory)
    assert ParseCache(directory).parse(TEXT + b"# more")[3] is None


def test_small_texts_and_wrong_ones_are_not_kept(directory):
    cache = ParseCache(directory)
    cache.parse(b"1 + 1")
    with pytest.raises(SyntaxProblem):
        cache.parse(b"[" + b" " * SMALLEST)
    cache.write()
    assert cache.parse(b"1 + 1")[3] is None


def test_a_directory_that_cannot_be_made_is_no_cache(scratch):
    (scratch / "file").write_text("")
    cache = ParseCache(str(scratch / "file" / "cache"))
    assert cache.parse(TEXT)[3] is None
    cache.write()


def test_what_is_nested_too_deeply_is_not_kept(directory, monkeypatch):
    children = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: children.append(fork()) or children[-1])
    deep = b"{ a = " + b"(" * 200_000 + b"1" + b")" * 200_000 + b"; }"
    cache = ParseCache(directory)
    on_deep_stack(lambda: cache.parse(deep))
    cache.flush()
    (child,) = children  # other tests may have left children of this process
    assert os.waitpid(child, 0) == (child, 0)
    assert os.listdir(directory) == []
