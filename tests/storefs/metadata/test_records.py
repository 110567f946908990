from __future__ import annotations

import pytest

from storefs.metadata.records import CorruptRecordError, PathRecord, decode_path_record, id_of, name_of, root_of

RECORD = PathRecord(
    7, 99, 2**40, 1234567890, bytes(range(32)), True, "hello-1.0", f"{'0' * 32}-d.drv", "text:x", ("a:b", "c:d")
)


def test_round_trip() -> None:
    value = RECORD.encode()
    again = decode_path_record(value)
    assert {name: getattr(again, name) for name in PathRecord.__slots__} == {
        name: getattr(RECORD, name) for name in PathRecord.__slots__
    }
    assert (name_of(value), id_of(value), root_of(value)) == (b"hello-1.0", 7, 99)


def test_empty_fields() -> None:
    empty = PathRecord(1, 2, 0, 0, bytes(32), False, "x", "", "", ())
    again = decode_path_record(empty.encode())
    assert (again.deriver, again.ca, again.signatures, again.ultimate) == ("", "", (), False)


def test_damage_is_noticed() -> None:
    value = RECORD.encode()
    for damaged in (b"", value[:20], value[:-1], value + b"x", value[:74] + b"\xff" + value[75:]):
        with pytest.raises(CorruptRecordError):
            decode_path_record(damaged)
