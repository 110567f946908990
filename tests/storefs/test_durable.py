"""Files are whole or not there, and temporary names belong to one writer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from storefs.durable import replace_by_pieces, replace_file, replace_symlink, temporary_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_a_file_gets_its_pieces_in_place_of_the_old_contents(scratch: Path) -> None:
    path = scratch / "file"
    replace_file(str(path), b"old")
    replace_by_pieces(str(path), (b"n", b"", b"ew"))
    assert path.read_bytes() == b"new"
    assert os.listdir(scratch) == ["file"]


def test_pieces_that_break_off_leave_the_old_file_alone(scratch: Path) -> None:
    path = scratch / "file"
    replace_file(str(path), b"old")

    def pieces() -> Iterator[bytes]:
        yield b"ne"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        replace_by_pieces(str(path), pieces())
    assert path.read_bytes() == b"old"
    assert os.listdir(scratch) == ["file"]


def test_a_failure_names_the_file_that_was_meant(scratch: Path) -> None:
    path = str(scratch / "missing/file")
    for replace in (lambda: replace_file(path, b"new"), lambda: replace_symlink(path, "/target")):
        with pytest.raises(FileNotFoundError) as caught:
            replace()
        assert caught.value.filename == path


def test_a_temporary_file_of_somebody_else_is_left_alone(scratch: Path) -> None:
    # Processes of containers have few different ids, and share file:// caches.
    path = scratch / "file"
    number = int(os.path.basename(temporary_name(str(path))).split("-")[2])
    theirs = [scratch / f".tmp-{os.getpid()}-{number + each}-file~" for each in (1, 2)]
    for each in theirs:
        each.write_bytes(b"theirs")
    replace_file(str(path), b"ours")
    assert path.read_bytes() == b"ours"
    assert [each.read_bytes() for each in theirs] == [b"theirs", b"theirs"]


def test_a_temporary_name_says_whose_it_is_and_is_given_once() -> None:
    names = {temporary_name("/folder/name.txt") for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(f"/folder/.tmp-{os.getpid()}-") for name in names)
    assert not any(name.endswith(".txt") for name in names)
