"""manifest.nix: what is printed is what nix-env prints, and what nix-env prints can be read without an evaluator."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.elements import Element, parse_manifest, print_manifest, print_value
from profiles.printed_data import NotPlainError
from tests.oracle.real_nix import RealNix

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NAMES = st.sampled_from(["a", "b-c", "d1", "description", "outputsToInstall"])
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**62), 2**62) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)


def element() -> Element:
    return Element(
        "hello-1.0",
        "/nix/store/a-hello-1.0",
        system="x86_64-linux",
        outputs={"out": "/nix/store/a-hello-1.0", "man": "/nix/store/b-hello-1.0-man"},
        meta={"priority": "4", "description": 'says "hi" for ${x}\n'},
    )


def test_prints_what_nix_env_prints() -> None:
    assert print_manifest([element()]) == (
        '[ { man = { outPath = "/nix/store/b-hello-1.0-man"; }; meta = { description = "says \\"hi\\" for \\${x}\\n"; '
        'priority = "4"; }; name = "hello-1.0"; out = { outPath = "/nix/store/a-hello-1.0"; }; '
        'outPath = "/nix/store/a-hello-1.0"; outputs = [ "man" "out" ]; system = "x86_64-linux"; '
        'type = "derivation"; } ]'
    )
    assert print_manifest([]) == "[ ]"


def test_flags_may_be_strings() -> None:
    assert element().priority == 4
    assert Element("a", "/x", meta={"keep": "true"}).keep
    assert Element("a", "/x", meta={"keep": True}).keep
    assert not Element("a", "/x", meta={"keep": "yes"}).keep


@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_reads_back_what_it_prints(meta: dict[str, object]) -> None:
    one = Element("n-1", "/s/x", system="s", meta=meta)  # type: ignore[arg-type]
    (read,) = parse_manifest(print_manifest([one]))
    assert read.as_value(True) == one.as_value(True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "{ }",
        "let x = 1; in [ x ]",
        '[ { type = "derivation"; } ]',
        '[ "${x}" ]',
        "[ (1) ]",
        "[ ] x",
        "[ ./p ]",
    ],
)
def test_anything_but_plain_data_is_refused(text: str) -> None:
    with pytest.raises(NotPlainError):
        parse_manifest(text)


@pytest.mark.oracle
def test_values_print_as_real_nix_prints_them(real_nix: RealNix) -> None:
    source = (
        '{ a = 1.5; b = 1000000.0; c = 12345678.9; d = 0.1; e = [ 1 "x\\\\y\\t" true ]; f = { }; g = "\\${"; h = "$x";'
    )
    source += " }"
    value = {
        "a": 1.5,
        "b": 1000000.0,
        "c": 12345678.9,
        "d": 0.1,
        "e": [1, "x\\y\t", True],
        "f": {},
        "g": "${",
        "h": "$x",
    }
    assert print_value(value) == real_nix.line("nix-instantiate", "--eval", "--strict", "-E", source)  # type: ignore[arg-type]


@pytest.mark.oracle
@pytest.mark.slow
def test_reads_and_prints_the_manifest_of_real_nix(scratch: Path) -> None:
    nix = RealNix(scratch / "nix")
    nix.folder.joinpath("x.nix").write_text(
        '{ a = derivation { name = "a-1.0"; system = builtins.currentSystem; builder = "/bin/sh";'
        ' args = [ "-c" "/bin/mkdir $out" ]; }'
        ' // { meta = { description = "x\\"y"; n = 1.5; bad = null; l = [ 1 ]; }; }; }'
    )
    profile = f"{nix.folder}/profile"
    nix.run("nix-env", "-f", f"{nix.folder}/x.nix", "-p", profile, "-iA", "a")
    text = Path(profile, "manifest.nix").read_text()
    assert print_manifest(parse_manifest(text)) == text
