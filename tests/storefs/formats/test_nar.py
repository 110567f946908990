from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefs.castore.host_tree import host_events
from storefs.formats.byte_reader import ByteReader, UnexpectedEndError
from storefs.formats.nar import (
    BadNarError,
    Directory,
    EndDirectory,
    NarWriter,
    Regular,
    Symlink,
    nar_of_bytes,
    parse_nar,
    write_nar,
)
from tests.nar_trees import Tree, events_of, trees
from tests.oracle.real_nix import RealNix

if TYPE_CHECKING:
    from storefs.formats.nar import Event


def text(content: bytes) -> bytes:
    return len(content).to_bytes(8, "little") + content + bytes(-len(content) & 7)


def strings(*contents: bytes) -> bytes:
    return b"".join(map(text, contents))


def comparable(events: list[Event]) -> list[tuple[object, ...]]:
    result: list[tuple[object, ...]] = []
    for event in events:
        if isinstance(event, Directory):
            result.append(("directory", event.name))
        elif isinstance(event, EndDirectory):
            result.append(("end",))
        elif isinstance(event, Regular):
            result.append(("regular", event.name, event.executable, event.size))
        elif isinstance(event, Symlink):
            result.append(("symlink", event.name, event.target))
        elif result and result[-1][0] == "contents":
            result[-1] = ("contents", result[-1][1] + bytes(event))  # type: ignore[operator]
        else:
            result.append(("contents", bytes(event)))
    return result


def parse(data: bytes, piece: int = 1 << 20) -> list[tuple[object, ...]]:
    reader = ByteReader([data[at : at + piece] for at in range(0, len(data), piece)])
    events = [bytes(event) if isinstance(event, memoryview) else event for event in parse_nar(reader)]
    assert reader.at_end()
    return comparable(events)


@given(tree=trees(), piece=st.sampled_from([1, 3, 8, 1000]))
def test_what_is_written_reads_back(tree: Tree, piece: int) -> None:
    events = events_of(tree)
    nar = b"".join(write_nar(events))
    assert parse(nar, piece) == comparable(events)


def test_the_bytes_of_a_file() -> None:
    expected = strings(b"nix-archive-1", b"(", b"type", b"regular", b"contents", b"hi\n", b")")
    assert nar_of_bytes(b"hi\n") == expected
    executable = strings(b"nix-archive-1", b"(", b"type", b"regular", b"executable", b"", b"contents", b"", b")")
    assert nar_of_bytes(b"", executable=True) == executable


def test_leaves_the_reader_behind_the_archive() -> None:
    reader = ByteReader([nar_of_bytes(b"one") + b"rest"])
    assert len(list(parse_nar(reader))) == 2
    assert reader.exact(4) == b"rest"


def test_the_depth_is_limited_by_memory_only() -> None:
    depth = 10_000
    events: list[Event] = [Directory(b"" if level == 0 else b"d") for level in range(depth)]
    events += [EndDirectory()] * depth
    nar = b"".join(write_nar(events))
    assert len(list(parse_nar(ByteReader([nar])))) == 2 * depth


def entry(name: bytes, node: bytes = strings(b"(", b"type", b"regular", b"contents", b"", b")")) -> bytes:
    return strings(b"entry", b"(", b"name", name, b"node") + node + text(b")")


def directory(*entries: bytes) -> bytes:
    return strings(b"nix-archive-1", b"(", b"type", b"directory") + b"".join(entries) + text(b")")


@pytest.mark.parametrize(
    ("nar", "message"),
    [
        (strings(b"nix-archive-2"), "doesn't look like a Nix archive"),
        (strings(b"nix-archive-1", b"[", b"type", b"regular"), "expected open tag"),
        (strings(b"nix-archive-1", b"(", b"type", b"fifo", b")") + bytes(16), "unknown file type"),
        (strings(b"nix-archive-1", b"(", b"type", b"regular", b")") + bytes(16), "lacks its contents"),
        (
            strings(b"nix-archive-1", b"(", b"type", b"regular", b"executable", b"x", b"contents", b"", b")"),
            "executable",
        ),
        (strings(b"nix-archive-1", b"(", b"type", b"symlink", b")") + bytes(16), "lacks its target"),
        (strings(b"nix-archive-1", b"(", b"type", b"symlink", b"target", b"", b")"), "impossible target"),
        (strings(b"nix-archive-1", b"(", b"type", b"symlink", b"target", b"a\0b", b")"), "impossible target"),
        (strings(b"nix-archive-1", b"(", b"type", b"symlink", b"target", b"x" * 4096, b")"), "4096 bytes long"),
        (directory(entry(b"")), "invalid file name ''"),
        (directory(entry(b".")), r"invalid file name '\.'"),
        (directory(entry(b"..")), r"invalid file name '\.\.'"),
        (directory(entry(b"a/b")), "invalid file name 'a/b'"),
        (directory(entry(b"/")), "invalid file name"),
        (directory(entry(b"a\0")), "invalid file name"),
        (directory(entry(b"x" * 256)), "256 bytes long"),
        (directory(entry(b"b"), entry(b"a")), "not sorted at 'a'"),
        (directory(entry(b"a"), entry(b"a")), "not sorted at 'a'"),
        (directory(strings(b"entry", b"(", b"node", b"x")) + bytes(16), "lacks its name"),
        (directory(strings(b"entry", b"(", b"name", b"a", b"nope")) + bytes(64), "lacks its node"),
        (directory(text(b"other")), "unknown field"),
        (
            strings(b"nix-archive-1", b"(", b"type", b"regular", b"contents") + b"\1" + bytes(7) + b"x" + b"\1" * 7,
            "padding",
        ),
        (strings(b"nix-archive-1", b"(", b"type", b"regular", b"contents") + b"\xff" * 8, "impossible"),
        (strings(b"nix-archive-1", b"(", b"type", b"regular", b"contents", b"x", b"contents", b"y", b")"), "close tag"),
    ],
)
def test_refuses_anything_else(nar: bytes, message: str) -> None:
    with pytest.raises(BadNarError, match=message):
        for _ in parse_nar(ByteReader([nar])):
            pass


def test_every_truncation_is_noticed() -> None:
    nar = directory(entry(b"a"), entry(b"b", strings(b"(", b"type", b"symlink", b"target", b"t", b")")))
    for length in range(len(nar)):
        with pytest.raises((UnexpectedEndError, BadNarError)):
            list(parse_nar(ByteReader([nar[:length]])))


def test_the_writer_refuses_bad_names_too() -> None:
    writer = NarWriter()
    writer.directory(b"")
    with pytest.raises(BadNarError):
        writer.regular(b"a/b", False, 0)


@pytest.mark.oracle
def test_writes_the_bytes_that_nix_writes(real_nix: RealNix, scratch: Path) -> None:
    top = scratch / "tree"
    (top / "sub" / "empty").mkdir(parents=True)
    (top / "file").write_bytes(b"content")
    (top / "big").write_bytes(bytes(range(256)) * 9000)
    (top / "run").write_bytes(b"#!/bin/sh\n")
    (top / "run").chmod(0o755)
    (top / "sub" / "link").symlink_to("../file")
    (top / os.fsdecode(b"na\xffme")).write_bytes(b"")
    ours = b"".join(write_nar(host_events(str(top))))
    theirs = real_nix.run("nix-store", "--dump", str(top))
    assert ours == theirs
