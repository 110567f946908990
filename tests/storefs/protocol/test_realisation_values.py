from __future__ import annotations

import pytest

from storefs.formats.hashes import hash_bytes
from storefs.formats.realisation import DrvOutput, Realisation
from storefs.formats.store_path import StoreDir, StorePath
from storefs.protocol.realisation_values import (
    read_realisation_answer,
    read_registration,
    write_realisation_answer,
    write_registration,
)
from storefs.protocol.wire import Reader, Writer

STORE = StoreDir("/nix/store")
ID = DrvOutput(hash_bytes("sha256", b"x"), "out")
PATH = StorePath("0" * 32 + "-x")


@pytest.mark.parametrize(("version", "signatures"), [(30, ()), (31, ("k:AA==",))])
def test_both_shapes_are_read_as_written(version: int, signatures: tuple[str, ...]) -> None:
    realisation = Realisation(ID, PATH, signatures)
    writer = Writer()
    write_registration(writer, version, realisation)
    write_realisation_answer(writer, version, STORE, realisation)
    write_realisation_answer(writer, version, STORE, None)
    reader = Reader([writer.take()])
    assert read_registration(reader, version) == realisation
    assert read_realisation_answer(reader, version, STORE, ID) == realisation
    assert read_realisation_answer(reader, version, STORE, ID) is None
