from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storefs.errors import StoreError
from storefs.formats.aterm import BadATermError
from storefs.formats.derivation import (
    DEFERRED,
    FIXED,
    FLOATING,
    IMPURE,
    INPUT_ADDRESSED,
    BadDerivationError,
    Derivation,
    DerivationOutput,
    parse_derivation,
)
from storefs.formats.derivation_hash import (
    DerivationHasher,
    check_output_paths,
    downstream_placeholder,
    hash_placeholder,
)
from storefs.formats.hashes import hash_bytes
from storefs.formats.store_path import BadStorePath, StoreDir, StorePath
from tests.oracle.real_nix import RealNix, needs_real_nix

GOLDEN = Path(__file__).parents[2] / "golden/derivations"  # written by real Nix 2.8 from EXPRESSION, in /nix/store
STORE = StoreDir("/nix/store")

HASH_PARTS = st.text("0123456789abcdfghijklmnpqrsvwxyz", min_size=32, max_size=32)
NAMES = st.text("abcXYZ019+-_?=", min_size=1, max_size=8)
PATHS = st.builds(lambda digest, name: StorePath(f"{digest}-{name}"), HASH_PARTS, NAMES)
# Any bytes at all, as Nix strings hold them.
TEXTS = st.binary(max_size=30).map(lambda data: data.decode("utf-8", "surrogateescape")) | st.text(
    '\\"\n\r\tab,()[]é\u0801\U00010000', max_size=12
)
OUTPUTS = st.builds(DerivationOutput, PATHS) | st.just(DerivationOutput(None))
DERIVATIONS = st.builds(
    Derivation,
    st.just("name"),
    st.dictionaries(NAMES, OUTPUTS, max_size=3),
    st.dictionaries(PATHS, st.sets(NAMES, max_size=3).map(lambda names: tuple(sorted(names))), max_size=3),
    st.sets(PATHS, max_size=3),
    NAMES,
    TEXTS,
    st.lists(TEXTS, max_size=4),
    st.dictionaries(TEXTS, TEXTS, max_size=5),
)


def minimal(**changes: object) -> Derivation:
    fields: dict[str, object] = {
        "name": "x",
        "outputs": {"out": DerivationOutput(StorePath("a" * 32 + "-x"))},
        "input_drvs": {},
        "input_srcs": set(),
        "system": "i686-linux",
        "builder": "/bin/sh",
        "args": [],
        "env": {},
    }
    return Derivation(**{**fields, **changes})  # type: ignore[arg-type]


@given(DERIVATIONS)
@settings(derandomize=True, deadline=None, max_examples=150)
def test_unparsed_text_parses_back(derivation: Derivation) -> None:
    text = derivation.unparse(STORE)
    assert parse_derivation(text, STORE, "name") == derivation
    assert parse_derivation(text, STORE, "name").unparse(STORE) == text


@given(DERIVATIONS, st.data())
@settings(derandomize=True, deadline=None, max_examples=300)
def test_damaged_text_raises_only_store_errors(derivation: Derivation, data: st.DataObject) -> None:
    text = bytearray(derivation.unparse(STORE))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 6))] = data.draw(
            st.sampled_from([b"", b'"', b"\\", b",", b"[", b"]", b"(", b")", b"x", b'","', b"],[", b"\xff"])
        )
    try:
        parsed = parse_derivation(bytes(text), STORE, "name")
    except StoreError:
        return
    plain = "".join((parsed.system, *parsed.outputs, *(name for names in parsed.input_drvs.values() for name in names)))
    if '"' in plain or "\\" in plain:  # not escaped, and so not read back
        return
    # What still parses is a derivation again: its text is a fixed point.
    again = parsed.unparse(STORE)
    assert parse_derivation(again, STORE, "name") == parsed


def test_every_truncation_is_refused() -> None:
    text = minimal(env={"a": 'b"\\'}, args=["-c"], input_srcs={StorePath("b" * 32 + "-src")}).unparse(STORE)
    for length in range(len(text)):
        with pytest.raises(StoreError):
            parse_derivation(text[:length], STORE, "x")


@pytest.mark.parametrize("text", [b"", b"Derive(", b"Derive([],[],[],)", b"garbage", b'""', b"Derive([],[],[],)" * 9])
def test_garbage_is_refused(text: bytes) -> None:
    with pytest.raises(BadATermError):
        parse_derivation(text, STORE, "x")


def test_escapes_that_nix_never_writes_stand_for_their_character() -> None:
    text = minimal(env={"a": "@"}).unparse(STORE).replace(b"@", b'\\q\\\\n\\"\\n')
    assert parse_derivation(text, STORE, "x").env == {"a": 'q\\n"\n'}


def test_systems_are_not_escaped() -> None:
    """As Nix has it: one with a quote can't be read back, and of one with a backslash that is lost."""
    assert b',"a\nb\tc","/bin/sh",' in minimal(system="a\nb\tc").unparse(STORE)
    text = minimal(system="a\\b").unparse(STORE)
    assert b',"a\\b","/bin/sh",' in text
    assert parse_derivation(text, STORE, "x").system == "ab"
    text = minimal(system='a"b').unparse(STORE)
    assert b',"a"b","/bin/sh",' in text
    with pytest.raises(BadATermError):
        parse_derivation(text, STORE, "x")


def test_environment_is_sorted_as_bytes() -> None:
    # The byte 0x80 (a lone surrogate when decoded) sorts before any character of more than one byte.
    keys = [raw.decode("utf-8", "surrogateescape") for raw in (b"\x80", "\u00e9".encode(), "\ue000".encode(), b"z")]
    text = minimal(env=dict.fromkeys(keys, "")).unparse(STORE)
    found = [text.index(b'("' + key.encode("utf-8", "surrogateescape") + b'"') for key in ("z", *keys[:3])]
    assert found == sorted(found)


def test_lone_surrogates_are_refused_rather_than_becoming_quotes() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        minimal(env={"a": "x\ud802"}).unparse(STORE)


def test_masking_blanks_output_paths_and_their_variables() -> None:
    derivation = minimal(env={"out": "/nix/store/" + "a" * 32 + "-x", "keep": "1"})
    masked = derivation.unparse(STORE, mask_outputs=True)
    assert masked == b'Derive([("out","","","")],[],[],"i686-linux","/bin/sh",[],[("keep","1"),("out","")])'


def test_path_outside_the_store_is_refused() -> None:
    with pytest.raises(BadStorePath):
        parse_derivation(minimal().unparse(StoreDir("/other/store")), STORE, "x")


def test_kinds() -> None:
    path = StorePath("a" * 32 + "-x")
    assert minimal().kind() is INPUT_ADDRESSED
    assert minimal(outputs={"out": DerivationOutput(path, "r:sha256", "00" * 32)}).kind() is FIXED
    assert minimal(outputs={"out": DerivationOutput(None, "r:sha256")}).kind() is FLOATING
    assert minimal(outputs={"out": DerivationOutput(None)}).kind() is DEFERRED
    assert minimal(outputs={"out": DerivationOutput(None, "r:sha256", "impure")}).kind() is IMPURE
    fixed = DerivationOutput(path, "sha256", "00" * 32)
    for outputs in ({}, {"dev": fixed}, {"out": fixed, "dev": fixed}, {"out": fixed, "dev": DerivationOutput(path)}):
        with pytest.raises(BadDerivationError):
            minimal(outputs=outputs).kind()


def test_hash_of_a_cycle_is_an_error_and_no_endless_loop() -> None:
    a, b = StorePath("a" * 32 + "-a.drv"), StorePath("b" * 32 + "-b.drv")
    derivations = {a: minimal(input_drvs={b: ("out",)}), b: minimal(input_drvs={a: ("out",)})}
    with pytest.raises(BadDerivationError, match="depends on itself"):
        DerivationHasher(STORE, derivations.__getitem__).of_path(a)


def test_hash_of_a_chain_longer_than_the_stack() -> None:
    paths = [StorePath(f"{index:032d}-d.drv") for index in range(3000)]
    derivations = {path: minimal(input_drvs={after: ("out",)}) for path, after in pairwise(paths)} | {
        paths[-1]: minimal()
    }
    hasher = DerivationHasher(STORE, derivations.__getitem__)
    assert hasher.of_path(paths[0]).hex != hasher.of_path(paths[1]).hex


def test_unknown_output_of_an_input_is_named() -> None:
    a = StorePath("a" * 32 + "-a.drv")
    hasher = DerivationHasher(STORE, {a: minimal()}.__getitem__)
    with pytest.raises(BadDerivationError, match=r"wants output 'dev'.*has only out"):
        hasher.modulo(minimal(input_drvs={a: ("dev",)}), mask_outputs=True)


def test_placeholders() -> None:
    # `builtins.placeholder "out"` of Nix 2.8.
    assert hash_placeholder("out") == "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9"
    drv = StorePath("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv")
    assert downstream_placeholder(drv, "out") == "/0c6rn30q4frawknapgwq386zq358m8r6msvywcvc89n6m5p2dgbz"


EXPRESSION = r"""
let
  mk = name: attrs: derivation ({ inherit name; system = "x86_64-linux"; builder = "/bin/sh"; } // attrs);
  zeros = "0000000000000000000000000000000000000000000000000000";
  flat = { outputHash = zeros; outputHashAlgo = "sha256"; };
  sha1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
  fixed = mk "src.tar" flat;
  mirror = mk "src.tar" (flat // { url = "other"; });
  recursive = mk "tree" { outputHashMode = "recursive"; outputHash = sha1; outputHashAlgo = "sha1"; };
  multi = mk "multi" {
    outputs = [ "out" "dev" "man" ];
    text = "quotes \" back \\ tab \t line \n cr \r end ä €";
    src = fixed;
  };
in mk "top" {
  args = [ "-c" "a\nb" multi.man ];
  a = multi; b = multi.dev; c = recursive; d = mirror; s = builtins.toFile "x" "y"; m = multi.drvPath;
}
"""


def read_golden(path: StorePath) -> Derivation:
    return parse_derivation((GOLDEN / path.base_name).read_bytes(), STORE, path.name.removesuffix(".drv"))


@pytest.mark.parametrize("file", sorted(GOLDEN.iterdir()), ids=lambda file: file.name[33:])
def test_golden_derivations_round_trip_and_hash_to_their_names(file: Path) -> None:
    path = StorePath(file.name)
    derivation = read_golden(path)
    text = derivation.unparse(STORE)
    assert text == file.read_bytes()
    assert STORE.make_text_path(path.name, hash_bytes("sha256", text), derivation.references()) == path
    check_output_paths(derivation, STORE, DerivationHasher(STORE, read_golden))


@needs_real_nix
@pytest.mark.oracle
@pytest.mark.slow
def test_golden_derivations_are_what_real_nix_writes(tmp_path: Path) -> None:
    nix = RealNix(tmp_path, STORE.path)
    top = nix.line("nix-instantiate", "-E", EXPRESSION)
    drvs = [path for path in nix.run("nix-store", "-qR", top).decode().split() if path.endswith(".drv")]
    written = {Path(path).name: nix.physical(path).read_bytes() for path in drvs}
    if os.environ.get("UPDATE_GOLDEN"):
        for name, content in written.items():
            (GOLDEN / name).write_bytes(content)
    assert written == {file.name: file.read_bytes() for file in GOLDEN.iterdir()}


@needs_real_nix
@pytest.mark.oracle
@pytest.mark.slow
def test_real_derivations_round_trip_and_hash_alike(tmp_path: Path) -> None:
    nix = RealNix(tmp_path)
    top = nix.line("nix-instantiate", "-E", EXPRESSION).split("!")[0]
    store = StoreDir(nix.store_dir)
    paths = nix.run("nix-store", "-qR", top).decode().split()
    drvs = [store.parse(path) for path in paths if path.endswith(".drv")]
    assert len(drvs) >= 5

    def read(path: StorePath) -> Derivation:
        return parse_derivation(Path(store.print(path)).read_bytes(), store, path.name.removesuffix(".drv"))

    for path in drvs:
        derivation = read(path)
        assert derivation.unparse(store) == Path(store.print(path)).read_bytes()
        # The strongest check of the hash: the output paths that real Nix computed follow from ours.
        check_output_paths(derivation, store, DerivationHasher(store, read))
        wrong = read(path)
        wrong.outputs = {name: DerivationOutput(path, o.hash_algo, o.hash) for name, o in wrong.outputs.items()}
        with pytest.raises(BadDerivationError, match="incorrect output"):
            check_output_paths(wrong, store, DerivationHasher(store, read))
