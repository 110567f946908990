from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.castore import ingest, nar_hash
from storefs.castore.blobs import BlobError
from storefs.castore.host_tree import HostTreeError, host_events
from storefs.castore.intake_area import IntakeArea
from storefs.castore.restore import RestoreError, restore
from storefs.formats.byte_reader import ByteReader
from storefs.formats.nar import BadNarError, Directory, EndDirectory, NarWriter, Regular, parse_nar, write_nar
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.metadata.tree_events import tree_events
from storefs.stores.local import LocalStore
from tests.store_invariants import check_invariants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.castore.many_blobs import MovableFile
    from storefs.formats.nar import Event

PATH = StorePath("0" * 32 + "-x")


def add(store: LocalStore, source: Path, *, move: bool = False) -> None:
    with store.intake() as intake:
        tree = intake.add_tree(str(source), move=move)
        intake.register([(tree, PathInfo(PATH, tree.nar_hash, tree.nar_size))])


def deep(top: Path, depth: int, name: str = "d") -> None:
    """Make a chain of directories, deeper than any path can say, with a file at its end."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "name"), [(10_000, "d"), (200, "n" * 255)])
def test_trees_deeper_than_any_path(local_store: LocalStore, scratch: Path, depth: int, name: str) -> None:
    """The tree is made, added, written out again and removed without ever naming it as a whole."""
    top = scratch / "top"
    top.mkdir()
    deep(top, depth, name)
    add(local_store, top)
    nar = b"".join(local_store.nar(PATH))
    assert sum(isinstance(event, Directory) for event in parse_nar(ByteReader([nar]))) == depth + 1
    restore(tree_events(local_store.reader, local_store.root_inode(PATH)), str(scratch / "copy"))
    assert b"".join(write_nar(host_events(str(scratch / "copy")))) == nar
    subprocess.run(["rm", "-rf", scratch / "top", scratch / "copy"], check=True)  # shutil.rmtree recurses
    collector = local_store.collector()
    assert collector.collect().paths == [PATH]
    collector.close()
    check_invariants(local_store)


@pytest.mark.slow
def test_a_directory_of_a_hundred_thousand_entries(config: object, local_store: LocalStore) -> None:
    count = 100_000
    events = [Directory(b"")]
    for number in range(count):
        events.append(Regular(b"entry-%06d" % number, False, 0))  # type: ignore[arg-type]
    events.append(EndDirectory())  # type: ignore[arg-type]
    with local_store.intake() as intake:
        tree = intake.add_events(events)
        intake.register([(tree, PathInfo(PATH, tree.nar_hash, tree.nar_size))])
    root = local_store.root_inode(PATH)
    entry = local_store.reader.find(root, b"entry-054321")
    assert entry is not None
    assert local_store.reader.find(root, b"entry-999999") is None
    assert len(local_store.reader.entries(root)) == count
    collector = local_store.collector()
    collector.collect()
    collector.close()
    check_invariants(local_store)


@pytest.mark.slow
def test_a_large_sparse_file_needs_little_memory(local_store: LocalStore, scratch: Path) -> None:
    size = (600 << 20) + 3
    with open(scratch / "sparse", "wb") as file:
        file.truncate(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    add(local_store, scratch / "sparse", move=True)
    digest = hashlib.sha256()
    total = 0
    for piece in local_store.nar(PATH):
        digest.update(piece)
        total += len(piece)
    assert total == local_store.path_info(PATH).nar_size
    assert digest.digest() == local_store.path_info(PATH).nar_hash.digest
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_files_with_two_names_are_copied_and_not_moved(local_store: LocalStore, scratch: Path) -> None:
    source = scratch / "built"
    source.mkdir()
    (source / "a").write_bytes(b"x" * 5000)
    os.link(source / "a", scratch / "outside")
    (source / "b").write_bytes(b"y" * 5000)
    add(local_store, source, move=True)
    assert (scratch / "outside").read_bytes() == b"x" * 5000
    assert not (source / "b").exists()
    (scratch / "outside").write_bytes(b"changed")
    check_invariants(local_store)


@pytest.mark.parametrize("depth", [1, 30])
def test_files_of_folders_are_moved_beside_the_reading(
    local_store: LocalStore, scratch: Path, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    """Also below where paths are too long, and folders are read through a descriptor that is closed soon."""
    for module in (ingest, nar_hash):
        monkeypatch.setattr(module, "THREAD_PAYS", 0)
    move_all = IntakeArea.move_all

    def late(area: IntakeArea, folder: bytes, files: list[MovableFile]) -> None:
        time.sleep(0.005)
        move_all(area, folder, files)

    monkeypatch.setattr(IntakeArea, "move_all", late)
    source = scratch / "built"
    source.mkdir()
    deep(source, depth, "n" * 200)
    folder = os.open(source, os.O_RDONLY)
    for level in range(depth):
        for number in range(20):
            name = f"file-{number}"
            with open(name, "wb", opener=lambda path, flags: os.open(path, flags, dir_fd=folder)) as file:  # noqa: B023
                file.write(b"%d %d" % (level, number) * 3000)
        inner = os.open("n" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    nar = b"".join(write_nar(host_events(str(source))))
    add(local_store, source, move=True)
    assert b"".join(local_store.nar(PATH)) == nar
    assert os.listdir(source) == ["n" * 200]
    check_invariants(local_store)
    subprocess.run(["rm", "-rf", source], check=True)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(scratch: Path) -> None:
    file = scratch / "file"
    file.write_bytes(b"x" * (3 << 20))
    events = host_events(str(file))
    next(events)
    next(events)
    os.truncate(file, 0)
    with pytest.raises(HostTreeError, match="became shorter"):
        list(events)


def test_what_the_source_of_a_restored_tree_raises_is_no_error_of_writing(scratch: Path) -> None:
    def source() -> Iterator[Event]:
        yield Directory(b"")
        yield Regular(b"file", False, 10)
        yield b"12345"
        raise ConnectionResetError("the other side went away")

    with pytest.raises(ConnectionResetError, match="went away"):
        restore(source(), str(scratch / "out"))


def test_restoring_replaces_nothing(scratch: Path) -> None:
    (scratch / "there").mkdir()
    with pytest.raises(RestoreError, match="File exists"):
        restore([Directory(b""), EndDirectory()], str(scratch / "there"))
    with pytest.raises(RestoreError, match="No such file"):
        restore([Directory(b""), EndDirectory()], str(scratch / "missing" / "x"))


@pytest.mark.parametrize("piece_size", [1000, 100_000, 300_000])
def test_pieces_may_be_overwritten_when_the_next_is_asked_for(local_store: LocalStore, piece_size: int) -> None:
    """One buffer for all pieces, of a file so large that it is hashed on two threads and written while it comes."""
    size = 39_000_000
    buffer = bytearray(piece_size)
    expected = hashlib.sha256()
    writer = NarWriter()
    expected.update(writer.regular(b"", False, size))

    def events() -> Iterator[Event]:
        yield Regular(b"", False, size)
        for start in range(0, size, piece_size):
            buffer[:] = start.to_bytes(4, "little") * (piece_size // 4)
            expected.update(buffer)
            yield memoryview(buffer)

    with local_store.intake() as intake:
        tree = intake.add_events(events())
        expected.update(writer.end_regular(size))
        assert tree.nar_hash.digest == expected.digest()
        intake.register([(tree, PathInfo(PATH, tree.nar_hash, tree.nar_size))])
    kept = hashlib.sha256()
    for piece in local_store.nar(PATH):
        kept.update(piece)
    assert kept.digest() == expected.digest()


def test_what_was_prepared_is_registered_though_a_collector_took_it_meanwhile(local_store: LocalStore) -> None:
    content = os.urandom(1 << 20)
    with local_store.intake() as intake:
        tree = intake.add_bytes(content)
        intake.prepare()
        collector = local_store.collector()
        collector.collect()
        collector.close()
        [digest] = local_store.blobs.all_digests()
        os.unlink(local_store.blobs.path(digest))  # as a collector does that was told of it by an older row
        intake.register([(tree, PathInfo(PATH, tree.nar_hash, tree.nar_size))])
    assert content in b"".join(local_store.nar(PATH))
    check_invariants(local_store)


def test_what_was_prepared_and_not_registered_leaves_nothing(local_store: LocalStore) -> None:
    with local_store.intake() as intake:
        intake.add_bytes(os.urandom(1 << 20))
        intake.prepare()
    assert list(local_store.blobs.all_digests()) == []
    check_invariants(local_store)


def test_small_files_are_hashed_in_few_large_pieces(local_store: LocalStore) -> None:
    """Row D5: each call of a hash costs something; the sink is given what the hash is given."""
    count, size, large = 2000, 1000, 4
    events: list[Event] = [Directory(b"")]
    for number in range(count):
        events += [Regular(b"%04d" % number, False, size), bytes(size)]
    for number in range(large):
        events += [Regular(b"large-%d" % number, False, 100_000), bytes(100_000)]
    events.append(EndDirectory())
    pieces: list[bytes] = []
    with local_store.intake() as intake:
        tree = intake.add_events(events, nar_sink=lambda piece: pieces.append(bytes(piece)))
    assert sum(map(len, pieces)) == tree.nar_size
    assert len(pieces) <= tree.nar_size // (128 << 10) + 2 * large
    assert hashlib.sha256(b"".join(pieces)).digest() == tree.nar_hash.digest


@pytest.mark.parametrize("pieces", [[b"xyz"], [b"x", memoryview(b"yz")], [bytearray(b"xy"), b"z"]])
def test_small_files_may_come_in_any_pieces(local_store: LocalStore, pieces: list[bytes]) -> None:
    events: list[Event] = [Directory(b""), Regular(b"empty", False, 0), Regular(b"file", True, 3), *pieces]
    events += [Regular(b"last", False, 1), b"l", EndDirectory()]
    with local_store.intake() as intake:
        tree = intake.add_events(events)
        intake.register([(tree, PathInfo(PATH, tree.nar_hash, tree.nar_size))])
    nar = b"".join(local_store.nar(PATH))
    assert nar == b"".join(write_nar(events))
    assert tree.nar_hash.digest == hashlib.sha256(nar).digest()
    assert tree.nar_size == len(nar)


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [([], "cut short"), ([b"x"], "cut short"), ([b"xyz!"], "longer"), ([b"x", b"yz!"], "longer")],
)
def test_small_files_have_the_size_that_was_announced(
    local_store: LocalStore, pieces: list[bytes], reason: str
) -> None:
    events: list[Event] = [Directory(b""), Regular(b"file", False, 3), *pieces, EndDirectory()]
    with local_store.intake() as intake, pytest.raises(BadNarError, match=reason):
        intake.add_events(events)


def test_names_in_events_are_checked(local_store: LocalStore) -> None:
    events: list[Event] = [Directory(b""), Regular(b"../x", False, 0), EndDirectory()]
    with local_store.intake() as intake, pytest.raises(BadNarError, match="invalid file name"):
        intake.add_events(events)


def make_large_tree(top: Path) -> None:
    """Of more than a thread is worth: inline files, and blobs of which some are equal, some are written in pieces."""
    top.mkdir()
    for number in range(300):
        size = (100, 70_000, 300_000)[number % 3]
        (top / f"file{number:03}").write_bytes(bytes([number // 6 % 256]) * size)


@pytest.mark.slow
def test_a_large_tree_is_stored_by_several_threads_and_complete(local_store: LocalStore, scratch: Path) -> None:
    make_large_tree(scratch / "top")
    seen: list[bytes] = []
    kinds: set[type] = set()

    def sink(piece: bytes | bytearray | memoryview) -> None:
        seen.append(bytes(piece))
        kinds.add(type(piece))

    with local_store.intake() as intake:
        tree = intake.add_tree(str(scratch / "top"), nar_sink=sink)
        intake.register([(tree, PathInfo(PATH, tree.nar_hash, tree.nar_size))])
    nar = b"".join(write_nar(host_events(str(scratch / "top"))))
    assert b"".join(seen) == nar == b"".join(local_store.nar(PATH))
    assert memoryview in kinds  # not copied for the sink
    assert tree.nar_hash.digest == hashlib.sha256(nar).digest()
    check_invariants(local_store)


@pytest.mark.slow
def test_what_a_sink_raises_late_ends_the_addition(local_store: LocalStore, scratch: Path) -> None:
    make_large_tree(scratch / "top")
    seen = 0

    def sink(piece: bytes | bytearray | memoryview) -> None:
        nonlocal seen
        seen += len(piece)
        if seen > 25 << 20:
            raise OSError("the sink is full")

    with local_store.intake() as intake, pytest.raises(OSError, match="the sink is full"):
        intake.add_tree(str(scratch / "top"), nar_sink=sink)
    check_invariants(local_store)
    assert not os.listdir(local_store.blobs.temporary)


@pytest.mark.parametrize("size", [300_000, 20 << 20], ids=["on this thread", "on another"])
def test_what_a_sink_raises_in_a_file_written_in_pieces_is_no_error_of_writing(
    local_store: LocalStore, scratch: Path, size: int
) -> None:
    (scratch / "file").write_bytes(bytes(size))

    def sink(_: bytes) -> None:
        raise TimeoutError("nobody reads")

    with local_store.intake() as intake, pytest.raises(TimeoutError, match="nobody reads"):
        intake.add_tree(str(scratch / "file"), nar_sink=sink)
    assert not os.listdir(local_store.blobs.temporary)


def test_what_a_source_raises_in_a_file_written_in_pieces_is_no_error_of_writing(local_store: LocalStore) -> None:
    def source() -> Iterator[Event]:
        yield Regular(b"", False, 300_000)
        yield bytes(200_000)
        raise ConnectionResetError("the other side went away")

    with local_store.intake() as intake, pytest.raises(ConnectionResetError, match="went away"):
        intake.add_events(source())
    assert not os.listdir(local_store.blobs.temporary)


@pytest.mark.slow
def test_a_blob_that_cannot_be_written_ends_the_addition(local_store: LocalStore, scratch: Path) -> None:
    top = scratch / "top"
    top.mkdir()
    for number in range(300):  # more than another thread is worth
        (top / f"file{number:03}").write_bytes(bytes([number % 256, number // 256]) * 30_000)
    (top / "last").write_bytes(bytes(70_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with local_store.intake() as intake, pytest.raises(BlobError, match="can't be written: File too large"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_000, limits[1]))
        try:
            intake.add_tree(str(top))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check_invariants(local_store)
    assert not os.listdir(local_store.blobs.temporary)
