from __future__ import annotations

import pytest

from storefs.errors import StoreError
from storefs.formats.realisation import BadRealisationError, Realisation, parse_drv_output, parse_realisation
from storefs.formats.signatures import PublicKeys, SecretKey
from storefs.formats.store_path import StorePath

OUT = "sha256:" + "ab" * 32 + "!out"
DEV = "sha256:" + "cd" * 32 + "!dev"
PATH, OTHER = StorePath("0" * 32 + "-x"), StorePath("1" * 32 + "-y")
# As Nix 2.8 writes it into `realisations/ID.doi`.
TEXT = b'{"dependentRealisations":{"%s":"%s"},"id":"%s","outPath":"%s","signatures":["k:AA==","k:BB=="]}' % tuple(
    each.encode() for each in (DEV, OTHER.base_name, OUT, PATH.base_name)
)


def realisation() -> Realisation:
    return Realisation(parse_drv_output(OUT), PATH, ["k:BB==", "k:AA=="], {parse_drv_output(DEV): OTHER})


def test_the_text_is_that_of_nix() -> None:
    assert realisation().to_json() == TEXT
    assert parse_realisation(TEXT, "here") == realisation()
    assert realisation().fingerprint() == TEXT.replace(b',"signatures":["k:AA==","k:BB=="]', b"")


def test_what_older_releases_left_out_is_empty() -> None:
    text = f'{{"id":"{OUT}","outPath":"{PATH.base_name}"}}'
    assert parse_realisation(text, "here") == Realisation(parse_drv_output(OUT), PATH)


@pytest.mark.parametrize(
    "text", ["", "x", "sha256:00!out", "!out", OUT.removesuffix("out"), OUT + "/../x", OUT * 4, OUT + "\ud800"]
)
def test_a_name_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadRealisationError, match="Invalid derivation output id"):
        parse_drv_output(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[" * 100000,
        b"[]",
        b"{}",
        TEXT.replace(b'"outPath"', b'"outpath"'),
        TEXT.replace(b'"id"', b'"Id"'),
        TEXT.replace(b"[", b"{").replace(b"]", b"}"),
        TEXT.replace(PATH.base_name.encode(), b"../x"),
        TEXT.replace(b'"%s"' % OTHER.base_name.encode(), b"1"),
        TEXT.replace(b"k:AA==", b"\\ud800"),
        b"\xff",
    ],
)
def test_what_is_no_realisation_is_refused(data: bytes) -> None:
    with pytest.raises(StoreError):
        parse_realisation(data, "here")


def test_a_signature_is_of_all_but_the_signatures() -> None:
    key = SecretKey.generate("mine")
    signed = realisation().signed([key])
    keys = PublicKeys([key.public_key()])
    assert signed.verified_by(keys) == ["mine"]
    assert signed.with_signatures(["other:AA=="]).verified_by(keys) == ["mine"]
    assert Realisation(signed.id, OTHER, signed.signatures, signed.dependencies).verified_by(keys) == []
    assert Realisation(signed.id, signed.path, signed.signatures).verified_by(keys) == []


def test_dependencies_may_not_have_been_computed() -> None:
    without = Realisation(realisation().id, PATH)
    assert without.is_compatible_with(realisation())
    assert realisation().is_compatible_with(without)
    assert not Realisation(realisation().id, OTHER).is_compatible_with(without)
    assert not Realisation(without.id, PATH, (), {parse_drv_output(DEV): PATH}).is_compatible_with(realisation())
