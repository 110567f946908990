from __future__ import annotations

import pytest

from storefs.formats.byte_reader import ByteReader
from storefs.formats.case_hack import NameCollisionError, with_suffixes, without_suffixes
from storefs.formats.nar import Directory, EndDirectory, Regular, parse_nar, write_nar


def files(*names: bytes) -> list[object]:
    return [Directory(b""), *(Regular(name, False, 0) for name in names), EndDirectory()]


def names(events: object) -> list[bytes]:
    return [event.name for event in events if isinstance(event, Regular)]  # type: ignore[attr-defined]


def test_names_that_differ_in_case_only_get_numbers() -> None:
    told = names(with_suffixes(files(b"A", b"B", b"a")))  # type: ignore[arg-type]
    assert told == [b"A", b"B", b"a~nix~case~hack~1"]


def test_each_directory_counts_for_itself() -> None:
    events = [Directory(b""), Directory(b"A"), Regular(b"x", False, 0), EndDirectory(), Directory(b"a")]
    events += [Regular(b"x", False, 0), EndDirectory(), EndDirectory()]  # type: ignore[list-item]
    assert names(with_suffixes(events)) == [b"x", b"x"]


def test_a_tree_comes_back_as_it_was() -> None:
    nar = b"".join(write_nar(files(b"XT", b"Xt", b"other", b"xt")))  # type: ignore[arg-type]
    hacked = list(with_suffixes(parse_nar(ByteReader([nar]))))
    assert b"".join(write_nar(without_suffixes(hacked))) == nar


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(NameCollisionError, match="'a~nix~case~hack~1' and 'a~nix~case~hack~2'"):
        list(without_suffixes(files(b"a~nix~case~hack~1", b"a~nix~case~hack~2")))  # type: ignore[arg-type]
