from __future__ import annotations

import pytest

from storefs.formats.store_path import StorePath
from storefs.metadata.records import (
    CorruptRecordError,
    PathRecord,
    decode_path_record,
    id_of,
    path_key,
    path_of_key,
    root_of,
)

RECORD = PathRecord(7, 99, 2**40, 1234567890, bytes(range(32)), True, f"{'0' * 32}-d.drv", "text:x", ("a:b", "c:d"))


def test_round_trip() -> None:
    value = RECORD.encode()
    again = decode_path_record(value)
    assert {name: getattr(again, name) for name in PathRecord.__slots__} == {
        name: getattr(RECORD, name) for name in PathRecord.__slots__
    }
    assert (id_of(value), root_of(value)) == (7, 99)


def test_empty_fields() -> None:
    empty = PathRecord(1, 2, 0, 0, bytes(32), False, "", "", ())
    again = decode_path_record(empty.encode())
    assert (again.deriver, again.ca, again.signatures, again.ultimate) == ("", "", (), False)


def test_damage_is_noticed() -> None:
    value = RECORD.encode()
    for damaged in (b"", value[:20], value[:-1], value + b"x", value[:72] + b"\xff" + value[73:]):
        with pytest.raises(CorruptRecordError):
            decode_path_record(damaged)


def test_keys_round_trip_in_the_order_of_hash_parts() -> None:
    paths = [StorePath(text) for text in (f"{'0' * 32}-b", f"{'0' * 31}1-a", f"{'1' * 32}-a.drv")]
    assert [path_of_key(path_key(path)) for path in paths] == paths
    assert all(path_key(path).startswith(path.digest) for path in paths)
