"""What a lazy mount shows of paths that are not here; what can go wrong is in `test_lazy_failures.py`."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.http_server import Fault
from tests.storefs.fuse.lazy_mount import BIG, Lazy
from tests.storefs.stores.caches import path_named
from tests.waiting import wait_until

pytestmark = [pytest.mark.fuse, pytest.mark.slow]


@pytest.mark.parametrize("listing", [True, False], ids=["listing", "no-listing"])
def test_tree_of_a_path_that_is_not_here(lazy: Lazy, listing: bool) -> None:
    path = lazy.add("x", listing=listing)
    assert sorted(os.listdir(path)) == ["big", "bin", "empty", "link"]
    assert (path / "big").stat().st_size == len(BIG)
    assert (path / "bin/run").stat().st_mode == 0o100555
    assert (path / "link").readlink() == Path("bin/run")
    assert not (path / "nothing").exists()
    assert (path / "big").read_bytes() == BIG
    assert (path / "empty").read_bytes() == b""
    assert subprocess.run([path / "link"], capture_output=True, check=True).stdout == b"this is x\n"


def test_nothing_is_fetched_before_something_is_read(lazy: Lazy, scratch: Path) -> None:
    lazy.add("missing-reference-keeps-the-background-quiet", ["gone"])
    path = lazy.store.root / path_named("missing-reference-keeps-the-background-quiet").base_name
    assert (path / "big").stat().st_size == len(BIG)
    assert lazy.nars() == []
    assert (path / "big").read_bytes() == BIG
    assert len(lazy.nars()) == 1
    assert not lazy.is_valid("missing-reference-keeps-the-background-quiet")


def test_closure_becomes_valid_in_the_background(lazy: Lazy) -> None:
    lazy.add("bottom")
    lazy.add("top", ["bottom"])
    top = lazy.store.root / path_named("top").base_name
    assert (top / "bin/run").exists()
    wait_until(lambda: lazy.is_valid("top"))
    assert lazy.is_valid("bottom")
    wait_until(lambda: not os.listdir(lazy.store.folder / "state/temproots"))
    assert (top / "big").read_bytes() == BIG  # the inode that was shown first still works


def test_what_is_open_is_read_from_the_store_once_it_is_there_and_fetched_again_when_it_is_gone(lazy: Lazy) -> None:
    path = lazy.add("x")

    def nars_kept() -> int:
        return Path(f"/proc/{lazy.store.status()['pid']}/maps").read_text().count("/state/verglas/tmp/")

    with open(path / "big", "rb", buffering=0) as file:
        inode = os.fstat(file.fileno()).st_ino
        assert file.read(1) == BIG[:1]
        wait_until(lambda: lazy.is_valid("x") and not nars_kept())
        fetched = len(lazy.nars())
        for collected in (False, True):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(file.fileno(), len(BIG), 0) == BIG
            assert os.fstat(file.fileno()).st_ino == inode
            assert len(lazy.nars()) == fetched + collected
            if not collected:  # and readers are roots
                delete = ["nix-store", "--delete", "--ignore-liveness", path]
                subprocess.run(delete, env=lazy.store.environ, check=True, capture_output=True)
                assert path.name not in os.listdir(lazy.store.root)


def test_unknown_paths_do_not_exist_and_appear_when_a_cache_has_them(lazy: Lazy) -> None:
    path = lazy.store.root / path_named("late").base_name
    assert not path.exists()
    assert not (lazy.store.root / "no-store-path").exists()
    assert lazy.server.targets.count(lazy.cache.key("late")) == 1
    assert not path.exists()
    assert lazy.server.targets.count(lazy.cache.key("late")) == 1


def test_a_reader_that_waits_can_be_interrupted_and_others_go_on(lazy: Lazy, transport: str) -> None:
    path = lazy.add("slow", ["gone"])
    other = lazy.add("quick", ["gone"])
    lazy.server.faults[lazy.cache.nar_key("slow")] = Fault(drip=0.05)
    assert (path / "big").exists()
    reader = subprocess.Popen(["cat", path / "big"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: lazy.cache.nar_key("slow") in lazy.server.targets)
        assert (other / "big").read_bytes() == BIG
        reader.send_signal(signal.SIGINT)
        assert reader.wait(60) == -signal.SIGINT
    finally:
        reader.kill()
        reader.wait()
        lazy.server.faults.clear()
        lazy.server.drop_connections()


def test_who_waits_for_a_name_or_a_link_can_be_interrupted(lazy: Lazy) -> None:
    by_name = lazy.add("by-name", ["gone"], listing=False)
    by_link = lazy.add("by-link", ["gone"])
    assert (by_link / "link").is_symlink()
    for name, command in (("by-name", ["ls", by_name]), ("by-link", ["readlink", by_link / "link"])):
        lazy.server.faults[lazy.cache.nar_key(name)] = Fault(drip=0.05)
        waiting = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda name=name: lazy.cache.nar_key(name) in lazy.server.targets)
        waiting.send_signal(signal.SIGINT)
        try:
            assert waiting.wait(60) == -signal.SIGINT
        finally:
            lazy.server.faults.clear()
            lazy.server.drop_connections()
            waiting.wait()


def test_many_readers_fetch_one_nar_once(lazy: Lazy, scratch: Path) -> None:
    path = lazy.add("x", ["gone"])
    lazy.server.delay = 0.02
    (scratch / "big").write_bytes(BIG)
    readers = [subprocess.Popen(["cmp", path / "big", scratch / "big"]) for _ in range(12)]
    assert [reader.wait(20) for reader in readers] == [0] * 12
    assert len(lazy.nars()) == 1
