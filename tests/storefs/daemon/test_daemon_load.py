"""Our daemon under load: many clients, a huge archive, and kill -9 in the middle of it."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.config import load_config
from storefs.errors import StoreError
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import Regular, nar_of_bytes, write_nar
from storefs.formats.path_info import PathInfo
from storefs.stores.local import LocalStore
from storefs.stores.remote_connection import DaemonUnreachableError
from tests.daemon_process import DaemonProcess
from tests.store_invariants import check_invariants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.formats.nar import Event
    from storefs.formats.store_path import StorePath

pytestmark = [pytest.mark.root, pytest.mark.fuse, pytest.mark.slow]

CLIENTS, TURNS = 50, 50  # four operations a turn
MOST_MEMORY = 200 << 20  # bytes


@pytest.fixture
def daemon(environ: dict[str, str]) -> Iterator[DaemonProcess]:
    with DaemonProcess(environ) as daemon:
        yield daemon


def test_fifty_clients_with_two_hundred_operations_each_lose_nothing(daemon: DaemonProcess) -> None:
    shared = b"everybody adds this"

    def work(number: int) -> set[StorePath]:
        made: set[StorePath] = set()
        with closing(daemon.store()) as store:
            for turn in range(TURNS):
                content = shared + b"%d" % turn if turn % 5 == 0 else b"%d of %d" % (turn, number)
                path = store.add_text(f"file-{turn if turn % 5 == 0 else (number * TURNS + turn)}", content)
                made.add(path)
                assert store.is_valid(path)
                assert store.path_info(path).nar_hash == hash_bytes("sha256", nar_of_bytes(content))
                assert store.valid_paths(made) == made
        return made

    with ThreadPoolExecutor(CLIENTS) as pool:
        made = set().union(*pool.map(work, range(CLIENTS)))
    assert len(made) == CLIENTS * TURNS * 4 // 5 + TURNS // 5
    with closing(daemon.store()) as store:
        assert store.valid_paths(made) == made
        assert set(store.all_valid_paths()) == made
    daemon.stop()
    assert "error" not in daemon.log


class Adder(threading.Thread):
    """A client that adds one thing after the other until the daemon is gone.

    Attributes:
        acknowledged: the paths that the daemon said it has, and their NAR hashes.
    """

    def __init__(self, daemon: DaemonProcess, seed: int) -> None:
        super().__init__()
        self.acknowledged: dict[StorePath, object] = {}
        self._daemon = daemon
        self._random = random.Random(seed)

    def run(self) -> None:
        source = self._random
        try:
            with closing(self._daemon.store()) as store:
                last: list[StorePath] = []
                while True:
                    # Into the database, into a file of its own, and in several pieces on the wire.
                    content = source.randbytes(source.choice([10, 30_000, 300_000]))
                    nar = nar_of_bytes(content)
                    nar_hash = hash_bytes("sha256", nar)
                    if source.random() < 0.5:
                        path = store.add_text("text", content, last)
                    else:
                        name = f"{source.randrange(10**32):032d}-trusted"
                        path = store.directory.parse(f"{store.directory.path}/{name}")
                        store.add_nar(PathInfo(path, nar_hash, len(nar), last), [nar], check=False)
                    self.acknowledged[path] = nar_hash
                    last = [path]
        except StoreError:
            pass  # killed


def test_kill_minus_nine_under_load_loses_nothing_that_was_acknowledged(
    daemon: DaemonProcess, request: pytest.FixtureRequest
) -> None:
    acknowledged: dict[StorePath, object] = {}
    source = random.Random(7)
    for round_ in range(30 if request.config.getoption("--deep") else 3):
        adders = [Adder(daemon, round_ * 100 + number) for number in range(6)]
        for adder in adders:
            adder.start()
        wanted = source.randrange(1, 60)
        while sum(len(adder.acknowledged) for adder in adders) < wanted:
            adders[0].join(0.002)
        daemon.kill()
        for adder in adders:
            adder.join(60)
            assert not adder.is_alive()
            acknowledged |= adder.acknowledged
        with pytest.raises(DaemonUnreachableError), closing(daemon.store()) as store:
            list(store.all_valid_paths())
        daemon.start()
        with closing(daemon.store()) as store:
            assert store.valid_paths(acknowledged) == acknowledged.keys()
            for adder in adders:
                for path, nar_hash in adder.acknowledged.items():
                    assert store.path_info(path).nar_hash == nar_hash
                    assert hash_bytes("sha256", b"".join(store.nar(path))) == nar_hash
    daemon.stop()
    with LocalStore(load_config(daemon.daemon_env)) as local:
        check_invariants(local)


@pytest.mark.parametrize(
    "size", [pytest.param(256 << 20, id="256 MB"), pytest.param(4 << 30, id="4 GB", marks=pytest.mark.deep)]
)
def test_a_huge_archive_is_received_in_bounded_memory(daemon: DaemonProcess, size: int) -> None:
    block = os.urandom(1 << 20)

    def events() -> Iterator[Event]:
        yield Regular(b"", executable=False, size=size)
        for index in range(size >> 20):
            yield index.to_bytes(8, "little") + block[8:]

    with closing(daemon.store()) as store:
        info = store.add_content_addressed("huge", "fixed:r:sha256", write_nar(events()))
        assert info.nar_size > size
        peaks = Counter({pid: peak_memory(pid) for pid in daemon.served_by()})
        assert len(peaks) == 2, "the listening process, and ours"
        print(f"peak memory of the serving process: {max(peaks.values()) / 1e6:.0f} MB")
        assert max(peaks.values()) < MOST_MEMORY
        # The way back: read by the client as it comes.
        received = sum(map(len, store.nar(info.path)))
        assert received == info.nar_size
        assert max(map(peak_memory, peaks)) < MOST_MEMORY


def peak_memory(pid: int) -> int:
    """The most bytes that a process has ever had in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"process {pid} has no memory")
