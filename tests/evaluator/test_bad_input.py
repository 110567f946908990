"""Sources and files that are not what they should be: a clear error, with the place in the program that wanted them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner

LOOP = "Too many levels of symbolic links|too many symbolic links"
CASES = [
    ("import ./loop", LOOP),
    ("builtins.readFile ./loop", LOOP),
    ("builtins.readDir ./loop", LOOP),
    ('builtins.hashFile "md5" ./loop', LOOP),
    ("import ./gone.nix", "gone.nix' does not exist"),
    ('"${./gone}"', "gone' does not exist"),
    ("builtins.readFile ./gone", "gone' does not exist"),
    ("builtins.readFile ./folder", "Is a directory"),
    ("builtins.readDir ./nul", "nul' is not a directory"),
    ("builtins.readFile ./nul", "cannot be represented as a Nix string"),
    ("builtins.fromJSON (builtins.readFile ./latin)", "invalid UTF-8"),
    ('builtins.toFile "a/b" ""', "contains illegal character '/'"),
    ('builtins.path { path = ./nul; name = "a b"; }', "contains illegal character ' '"),
    ("builtins.genList (x: x) 9223372036854775807", "cannot create list of size 9223372036854775807: out of memory"),
    ("9223372036854775807 * 2", r"integer overflow in multiplying 9223372036854775807 \* 2"),
    ("9223372036854775808", "invalid integer '9223372036854775808'"),
    ("builtins.floor 1.0e300", "not in the range of NixInt"),
]


@pytest.mark.parametrize(("expression", "message"), CASES)
def test_a_clear_error_with_a_position(scratch: Path, run: Runner, expression: str, message: str) -> None:
    (scratch / "loop").symlink_to("pool")
    (scratch / "pool").symlink_to("loop")
    (scratch / "folder").mkdir()
    (scratch / "nul").write_bytes(b"a\0b")
    (scratch / "latin").write_bytes(b'"\xe4"')
    (scratch / "program.nix").write_text(f"let\n  value = {expression};\nin value\n")
    result = run("nix-instantiate", "--eval", scratch / "program.nix", status=1)
    assert result.stderr.startswith("error: ")
    assert re.search(message, result.stderr)
    assert f"at {scratch}/program.nix:2:" in result.stderr


@pytest.mark.parametrize("source", [b'let a = "\xff\xfe"; in a + 1', b'"a\0b"', b"\xff", b"/* \xe2\x82", b"''\xf0${"])
def test_bytes_that_are_no_text_are_an_error_of_the_program(scratch: Path, run: Runner, source: bytes) -> None:
    (scratch / "program.nix").write_bytes(source)
    result = run("nix-instantiate", "--eval", scratch / "program.nix", status=1)
    assert f"at {scratch}/program.nix:1:" in result.stderr
    assert "internal error" not in result.stderr


def test_numbers_at_the_border_of_64_bits_are_no_errors(run: Runner) -> None:
    most = 9223372036854775807
    expression = f'builtins.substring {most} {most} "abc" + builtins.substring 1 {most} "xyz"'
    assert run("nix-instantiate", "--eval", "-E", expression).stdout == '"yz"\n'
