"""Plain data as Nix prints it: both ways of reading it agree, and neither takes anything else."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.elements import print_value
from profiles.printed_data import NotPlainError, read_by_json, read_data, read_exactly
from tests.architecture.sources import ROOT

if TYPE_CHECKING:
    from profiles.printed_data import Plain

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20) | st.text('\\"$;{}[]= ', max_size=8)
NAMES = st.sampled_from(["a", "b-c", "d'1", "_e", "null"])
VALUES: st.SearchStrategy[Plain] = st.recursive(
    st.booleans() | st.none() | st.integers(-(2**62), 2**62) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)
MANIFEST = (
    '[ { a = "x"; b = { }; c = [ "y" "z" "y" "z" ]; d = [ { e = 1; } { e = true; } ]; f = "\\"\\\\\\${h}\\n\t"; } '
    "{ a = [ ]; } ]"
)
MEANING: Plain = [
    {
        "a": "x",
        "b": {},
        "c": ["y", "z", "y", "z"],
        "d": [{"e": 1}, {"e": True}],
        "f": '"\\${h}\n\t',
    },
    {"a": []},
]


def quickly(text: str) -> Plain:
    """Read a text in the quick way; "unsure" where that leaves it to the other one."""
    value = read_by_json(text)
    return "unsure" if value is None else value


def exactly(text: str) -> Plain:
    try:
        return read_exactly(text)
    except NotPlainError:
        return "refused"


@given(VALUES)
def test_reads_what_is_printed(value: Plain) -> None:
    assert read_exactly(print_value([value])) == [value]
    assert quickly(print_value([value])) in ([value], "unsure")


def test_manifests_are_read_in_the_quick_way() -> None:
    assert quickly(MANIFEST) == MEANING == read_exactly(MANIFEST)


@given(st.data())
def test_what_is_nearly_a_manifest_is_never_read_as_something_else(data: st.DataObject) -> None:
    text = MANIFEST
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 3))
        text = text[:at] + data.draw(st.text("\\\"$;{}[]=.#/'- ab1N\n\0\1\3", max_size=3)) + text[at + cut :]
    assert quickly(text) in (exactly(text), "unsure"), text


@pytest.mark.parametrize(
    "text", ["[ NaN ]", "[ -Infinity ]", "[ 1 2 ]", "[ 01 ]", "[ { a.b = 1; } ]", "[ { x y = 1; } ]", '[ "a\\bc" ]']
)
def test_what_means_something_else_in_json_is_left_to_the_other_way(text: str) -> None:
    assert quickly(text) == "unsure"


def test_text_that_is_not_json_is_left_to_the_other_way_where_json_is_not_loaded() -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[1])
from profiles.printed_data import read_by_json
print(read_by_json('[ { a = [ "x"1 ]; } ]'), "json" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-I", "-c", program, str(ROOT)], capture_output=True, text=True, check=True)
    assert done.stdout == "None False\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "let x = 1; in [ x ]",
        '[ "${x}" ]',
        "[ (1) ]",
        "[ ] x",
        "[ ./p ]",
    ],
)
def test_anything_but_plain_data_is_refused(text: str) -> None:
    with pytest.raises(NotPlainError):
        read_data(text)
