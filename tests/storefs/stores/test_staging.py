from __future__ import annotations

import resource
import subprocess
import sys
from _thread import start_new_thread
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from storefs.castore import contents, intake_area, joined_thread, side_thread, write_behind
from storefs.castore.host_tree import host_events
from storefs.config import load_config
from storefs.errors import StoreError
from storefs.formats.byte_reader import UnexpectedEndError
from storefs.formats.derivation import BadDerivationError
from storefs.formats.nar import write_nar
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.metadata import file_index
from storefs.metadata.environment import DiskFullError
from storefs.stores import staging
from storefs.stores.local import LocalStore
from tests.store_invariants import check_invariants, check_nothing_is_left
from tests.threads import no_new_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from storefs.api import Tree
    from storefs.metadata.environment import Environment, Transaction

PATH = StorePath("0" * 32 + "-x")
OTHER = StorePath("1" * 32 + "-y")


@pytest.fixture(params=[(1, 64), (9000, 64), (30_000, 64), (9000, 0)])
def _little_room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for nothing, for some entries, for about a directory; and batches that are under way together.

    Those are what the disk is waited for long: what has more than so many files.  A thread waits for it then.
    """
    room, few = request.param
    if not few:
        monkeypatch.setattr(write_behind, "MANY", 1)
    monkeypatch.setattr(contents, "ROOM", room)
    monkeypatch.setattr(intake_area, "SYNC_ONE_BY_ONE", few)


@pytest.fixture
def tree(scratch: Path) -> Path:
    """Directories inside each other, before and after files, with links, equal files, and contents of both kinds."""
    top = scratch / "tree"
    for name in ("a/b/c", "a/b/d", "a/z", "e", "m/n"):
        folder = top / name
        folder.mkdir(parents=True)
        for number in range(7):
            (folder / f"f{number}").write_bytes(f"{name} {number} ".encode() * (1 + 20 * (number % 3)))
            (folder / f"equal{number}").write_bytes(b"equal")
        (folder / "program").write_bytes(b"equal")
        (folder / "program").chmod(0o755)
        (folder / "large-program").write_bytes(b"equal and large" * 10)
        (folder / "large-program").chmod(0o755)
        (folder / "large").write_bytes(b"equal and large" * 10)
        (folder / "link").symlink_to("f0")
        (folder / "empty").mkdir()
    (top / "zz").write_bytes(b"last")
    return top


def pieces(tree: Path) -> Iterator[bytes]:
    return write_nar(host_events(str(tree)))


def register(store: LocalStore, tree: Path, path: StorePath) -> None:
    with store.intake() as intake:
        taken = intake.add_nar(pieces(tree))
        intake.register([(taken, info(taken, path))])


def info(tree: Tree, path: StorePath) -> PathInfo:
    return PathInfo(path, tree.nar_hash, tree.nar_size)


def staged(store: LocalStore) -> int:
    with store.environment.snapshot() as txn:
        return int(txn.stat(store.environment.staged)["entries"])


def unindexed(store: LocalStore) -> int:
    with store.environment.snapshot() as txn:
        return int(txn.stat(store.environment.unindexed)["entries"])


def collect(store: LocalStore) -> list[StorePath]:
    collector = store.collector()
    try:
        return collector.collect().paths
    finally:
        collector.close()


@pytest.mark.usefixtures("_little_room")
class TestWrittenAhead:
    def test_a_tree_is_what_it_was(self, local_store: LocalStore, tree: Path) -> None:
        register(local_store, tree, PATH)
        assert b"".join(local_store.nar(PATH)) == b"".join(pieces(tree))
        assert not staged(local_store)
        check_invariants(local_store)

    def test_one_thread_writes_it_all(
        self, local_store: LocalStore, tree: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each that is begun may get a heap of its own, which keeps what a transaction took."""
        begun: list[object] = []

        def begin(work: Callable[[], object], words: tuple[()]) -> int:
            begun.append(work)
            return start_new_thread(work, words)

        monkeypatch.setattr(side_thread, "start_new_thread", begin)
        monkeypatch.setattr(joined_thread, "start_new_thread", begin)
        register(local_store, tree, PATH)
        assert len(begun) <= 2  # the other one has the disk begin
        check_invariants(local_store)

    def test_it_shares_what_is_there_and_goes_as_a_whole(self, local_store: LocalStore, tree: Path) -> None:
        register(local_store, tree / "a", OTHER)
        register(local_store, tree, PATH)
        check_invariants(local_store)
        assert sorted(collect(local_store)) == [PATH, OTHER]
        check_invariants(local_store)
        check_nothing_is_left(local_store)

    def test_an_addition_that_fails_leaves_nothing(self, local_store: LocalStore, tree: Path) -> None:
        nar = b"".join(pieces(tree))
        register(local_store, tree / "e", OTHER)
        with local_store.intake() as intake, pytest.raises(UnexpectedEndError):
            intake.add_nar([nar[:-200]])
        check_invariants(local_store)
        check_nothing_is_left(local_store)
        assert list(local_store.all_valid_paths()) == [OTHER]

    def test_what_is_not_registered_goes(self, local_store: LocalStore, tree: Path) -> None:
        with local_store.intake() as intake:
            intake.add_nar(pieces(tree / "a"))
            other = intake.add_nar(pieces(tree / "e"))
            intake.add_bytes(b"text" * 100)
            intake.register([(other, info(other, OTHER))])
            intake.add_nar(pieces(tree / "m"))
        check_invariants(local_store)
        check_nothing_is_left(local_store)
        assert list(local_store.all_valid_paths()) == [OTHER]

    def test_a_path_that_is_valid_already(self, local_store: LocalStore, tree: Path) -> None:
        with local_store.intake() as one, local_store.intake() as two:
            first, second = one.add_nar(pieces(tree)), two.add_nar(pieces(tree))
            two.register([(second, info(second, PATH))])
            one.register([(first, info(first, PATH))])
        check_invariants(local_store)
        check_nothing_is_left(local_store)

    @pytest.mark.parametrize("first", [PATH, OTHER])
    def test_equal_files_of_two_additions_at_once_both_stay(
        self, local_store: LocalStore, tree: Path, first: StorePath
    ) -> None:
        with local_store.intake() as one, local_store.intake() as two:
            ones, twos = one.add_nar(pieces(tree)), two.add_nar(pieces(tree / "a"))
            one.add_nar(pieces(tree / "e"))  # so that what was taken in before is written, and not indexed
            two.add_nar(pieces(tree / "e"))
            for each in (one, two):
                each.prepare()  # which waits: what is written after the other one's registration is shared
            two.register([(twos, info(twos, OTHER))])
            one.register([(ones, info(ones, PATH))])
        assert unindexed(local_store) > 0
        check_invariants(local_store)
        collector = local_store.collector()
        collector.delete([first])
        collector.close()
        check_invariants(local_store)  # the contents of the other one are what its hash says
        collect(local_store)
        check_nothing_is_left(local_store)
        assert unindexed(local_store) == 0

    def test_later_additions_find_what_was_indexed_late(self, local_store: LocalStore, tree: Path) -> None:
        register(local_store, tree, PATH)
        assert unindexed(local_store) == 0
        with local_store.environment.snapshot() as txn:
            before = txn.stat(local_store.environment.nodes)["entries"]
        register(local_store, tree / "a/b/c", OTHER)
        with local_store.environment.snapshot() as txn:
            links = 1
            assert txn.stat(local_store.environment.nodes)["entries"] == before + links
        check_invariants(local_store)

    def test_replacing(self, local_store: LocalStore, tree: Path) -> None:
        register(local_store, tree, PATH)
        with local_store.intake(repair=True) as intake:
            taken = intake.add_nar(pieces(tree))
            intake.register([(taken, info(taken, PATH))], replace=True)
        check_invariants(local_store)
        check_nothing_is_left(local_store)

    def test_a_collector_leaves_it_alone_while_the_addition_lives(self, local_store: LocalStore, tree: Path) -> None:
        register(local_store, tree / "a", OTHER)
        nar = b"".join(pieces(tree))

        def interrupted() -> Iterator[bytes]:
            for start in range(0, len(nar), 4000):
                yield nar[start : start + 4000]
                collect(local_store)

        with local_store.intake() as intake:
            taken = intake.add_nar(interrupted())
            collect(local_store)
            intake.register([(taken, info(taken, PATH))])
        check_invariants(local_store)
        assert collect(local_store) == [PATH]
        check_nothing_is_left(local_store)

    def test_a_file_that_is_no_derivation_is_refused(self, local_store: LocalStore, tree: Path) -> None:
        path = StorePath("2" * 32 + "-d.drv")
        with local_store.intake() as intake:
            taken = intake.add_bytes(b"no derivation at all")
            intake.add_nar(pieces(tree))
            with pytest.raises(BadDerivationError):
                intake.register([(taken, info(taken, path))])
        check_nothing_is_left(local_store)


def test_it_reads_on_while_rows_wait(local_store: LocalStore, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "ROOM", 40_000)
    aside: list[str] = []

    class Noted(contents._Aside):
        def __init__(self, path: str, pieces: list[bytes], size: int) -> None:
            super().__init__(path, pieces, size)
            aside.append(path)

    monkeypatch.setattr(contents, "_Aside", Noted)
    began, all_read = Event(), Event()
    in_time: list[bool] = []

    def hold(_: object) -> None:
        began.set()
        in_time.append(all_read.wait(20))

    def told() -> Iterator[bytes]:
        yield from pieces(tree)
        all_read.set()

    holder = Thread(target=lambda: local_store.environment.update(hold))
    holder.start()
    began.wait()
    with local_store.intake() as intake:
        taken = intake.add_nar(told())
        holder.join()
        intake.register([(taken, info(taken, PATH))])
    assert in_time == [True]
    assert len(aside) > 1
    assert b"".join(local_store.nar(PATH)) == b"".join(pieces(tree))
    check_invariants(local_store)


def test_a_large_index_is_told_in_several_transactions(
    local_store: LocalStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "ROOM", 9000)
    steps: list[int] = []

    def noted(env: Environment, txn: Transaction, files: dict[bytes, int]) -> list[bytes]:
        done = file_index.index_some(env, txn, files)
        steps.append(len(done))
        return done

    monkeypatch.setattr(staging, "index_some", noted)
    few = 3
    monkeypatch.setattr(file_index, "_PAGES", few)
    monkeypatch.setattr(file_index, "fits", lambda _env, _txn, count: count <= few)  # whatever the index is
    monkeypatch.setattr(staging, "fits", file_index.fits)
    register(local_store, tree, PATH)
    assert steps
    assert set(steps) == {few}
    assert unindexed(local_store) == 0
    check_invariants(local_store)


def test_no_more_than_some_files_wait_for_the_index(
    local_store: LocalStore, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, in_one_batch = 20, 5
    monkeypatch.setattr(contents, "ROOM", (in_one_batch - 1) * contents.ENTRY_WEIGHT)
    monkeypatch.setattr(staging, "_UNINDEXED", most)
    for number in range(100):
        (scratch / "tree").mkdir(exist_ok=True)
        (scratch / "tree" / f"f{number:03}").write_bytes(b"%d" % number)
    waiting: list[int] = []

    def watched() -> Iterator[bytes]:
        for piece in pieces(scratch / "tree"):
            yield piece
            waiting.append(unindexed(local_store))

    with local_store.intake() as intake:
        taken = intake.add_nar(watched())
        intake.register([(taken, info(taken, PATH))])
    assert in_one_batch <= max(waiting) < most + in_one_batch
    assert unindexed(local_store) == 0
    check_invariants(local_store)


def test_an_index_that_has_no_room_ends_the_addition(
    local_store: LocalStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> list[bytes]:
        raise DiskFullError("the index")

    monkeypatch.setattr(contents, "ROOM", 1)
    monkeypatch.setattr(staging, "_UNINDEXED", 1)
    monkeypatch.setattr(staging, "index_some", full)
    with local_store.intake() as intake, pytest.raises(DiskFullError, match="the index"):
        taken = intake.add_nar(pieces(tree))
        intake.register([(taken, info(taken, PATH))])
    check_invariants(local_store)
    check_nothing_is_left(local_store)
    assert unindexed(local_store) == 0


KILLED = """
import os, sys
from storefs.castore import contents, joined_thread, side_thread
from storefs.config import load_config
from storefs.stores.local import LocalStore

contents.ROOM = 3000
def end(txn):  # while the thread that writes rows waits, whose next batch may take some away
    if txn.stat(store.environment.staged)["entries"] > 1:
        os.kill(os.getpid(), 9)

def pieces():
    yield sys.stdin.buffer.read(int(sys.argv[1]))
    while True:
        store.environment.update(end)

with LocalStore(load_config(), map_size=1 << 20, inline_limit=64) as store, store.intake() as intake:
    intake.add_nar(pieces())
"""


def killed_in_the_middle(environ: dict[str, str], tree: Path) -> None:
    nar = b"".join(pieces(tree))
    done = subprocess.run([sys.executable, "-c", KILLED, str(len(nar) * 3 // 4)], env=environ, input=nar, check=False)
    assert done.returncode == -9


def test_what_a_killed_addition_wrote_ahead_is_collected(environ: dict[str, str], tree: Path) -> None:
    killed_in_the_middle(environ, tree)
    with LocalStore(load_config(environ)) as store:
        assert staged(store) > 1
        check_invariants(store)
        assert list(store.all_valid_paths()) == []
        collect(store)
        check_invariants(store)
        check_nothing_is_left(store)


def test_also_if_somebody_removed_its_area(environ: dict[str, str], tree: Path) -> None:
    killed_in_the_middle(environ, tree)
    with LocalStore(load_config(environ)) as store:
        subprocess.run(["rm", "-r", store.blobs.temporary], check=True)
        collect(store)
        assert staged(store) == 0
        check_invariants(store)


def test_an_error_while_writing_ahead_ends_the_addition(
    local_store: LocalStore, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database may not grow beyond a megabyte, as if the disk were full."""
    monkeypatch.setattr(contents, "ROOM", 9000)
    for number in range(4000):
        (scratch / "tree").mkdir(exist_ok=True)
        (scratch / "tree" / f"f{number}").write_bytes(b"%060d" % number)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with local_store.intake() as intake, pytest.raises(StoreError, match="database"):
            intake.add_nar(pieces(scratch / "tree"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    collect(local_store)
    check_invariants(local_store)
    check_nothing_is_left(local_store)


@pytest.mark.usefixtures("_little_room")
def test_where_no_thread_can_be_made_nobody_waits_for_it(local_store: LocalStore, tree: Path) -> None:
    with no_new_threads(), pytest.raises(RuntimeError, match="thread"), local_store.intake() as intake:
        intake.add_tree(str(tree))
    check_nothing_is_left(local_store)
