from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefs.formats.byte_reader import ByteReader
from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink, write_nar
from storefs.formats.nar_listing import list_nar
from storefs.formats.store_path import StoreDir, StorePath
from tests.http_server import Fault, HttpServer, wait_until
from tests.storefs.fuse.mounted_store import MountedStore
from tests.storefs.stores.caches import PUBLIC_KEY, HandMadeCache, path_named

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

BIG = os.urandom(300_000)


def package(name: str) -> bytes:
    """The NAR of a small package."""
    script = f"#!/bin/sh\necho this is {name}\n".encode()
    return b"".join(
        write_nar(
            [
                Directory(b""),
                Regular(b"big", False, len(BIG)),
                BIG,
                Directory(b"bin"),
                Regular(b"run", True, len(script)),
                script,
                EndDirectory(),
                Regular(b"empty", False, 0),
                Symlink(b"link", b"bin/run"),
                EndDirectory(),
            ]
        )
    )


class Lazy:
    """A cache, its server, and a lazy mount that substitutes from it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.store = MountedStore(folder, "--lazy", *options)
        self.directory = StoreDir(str(self.store.root))
        self.cache = HandMadeCache(self.directory, compression="zstd")
        self.server = HttpServer(self.cache.files)
        self.store.environ["NIX_CONFIG"] = (
            f"substituters = {self.server.url}\ntrusted-public-keys = {PUBLIC_KEY}\n"
            "connect-timeout = 1\nbuild-users-group =\n"
        )

    def add(self, name: str, references: list[str] | None = None, *, listing: bool = True) -> Path:
        nar = package(name)
        path = self.cache.add(name, references, nar=nar)
        if listing:
            self.cache.files[f"/{path.hash_part}.ls"] = json.dumps(list_nar(ByteReader([nar]))).encode()
        return self.store.root / path.base_name

    def is_valid(self, name: str) -> bool:
        shown = self.directory.print(path_named(name))
        done = subprocess.run(
            ["nix-store", "--check-validity", shown], env=self.store.environ, capture_output=True, check=False
        )
        return done.returncode == 0

    def nars(self) -> list[str]:
        return [target for target in self.server.targets if target.startswith("/nar/")]

    def path(self, name: str) -> StorePath:
        return path_named(name)


@pytest.fixture(params=["kernel", "pyfuse3"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lazy(scratch: Path, transport: str) -> Iterator[Lazy]:
    lazy = Lazy(scratch, "--transport", transport)
    lazy.store.mount()
    try:
        yield lazy
    finally:
        print(lazy.store.log)  # pytest shows it when the test fails
        lazy.server.close()
        lazy.store.close()


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
    wait_until(lambda: lazy.is_valid("top"), 20)
    assert lazy.is_valid("bottom")
    wait_until(lambda: not os.listdir(lazy.store.folder / "state/temproots"), 5)
    assert (top / "big").read_bytes() == BIG  # the inode that was shown first still works


def test_unknown_paths_do_not_exist_and_appear_when_a_cache_has_them(lazy: Lazy) -> None:
    path = lazy.store.root / path_named("late").base_name
    assert not path.exists()
    assert not (lazy.store.root / "no-store-path").exists()
    assert lazy.server.targets.count(lazy.cache.key("late")) == 1
    assert not path.exists()
    assert lazy.server.targets.count(lazy.cache.key("late")) == 1


@pytest.mark.parametrize(
    "damage", ["flipped", "unsigned", "other listing", "gone", "malformed listing", "deep listing"]
)
def test_what_is_not_what_was_promised_is_an_error_and_never_shown(lazy: Lazy, damage: str) -> None:
    path = lazy.add("x", ["gone"])
    files = lazy.cache.files
    key = lazy.cache.nar_key("x")
    if damage == "flipped":
        middle = len(files[key]) // 2
        files[key] = files[key][:middle] + bytes([files[key][middle] ^ 1]) + files[key][middle + 1 :]
    elif damage == "unsigned":
        lazy.cache.edit("x", "Sig: test-1", "Sig: test-2")
    elif damage == "other listing":
        listing = f"/{path_named('x').hash_part}.ls"
        files[listing] = files[listing].replace(b'"executable": true, ', b"")
    elif damage == "deep listing":
        files[f"/{path_named('x').hash_part}.ls"] = b'{"root":' * 100_000
    elif damage == "gone":
        del files[key]
    else:
        files[f"/{path_named('x').hash_part}.ls"] = (
            b'{"version": 1, "root": {"type": "directory", "entries": {"..": 1}}}'
        )
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            (path / "big").read_bytes()
    assert not lazy.is_valid("x")


def test_silent_cache_gives_an_error_within_the_timeout(lazy: Lazy) -> None:
    path = lazy.add("x", ["gone"])
    assert (path / "big").stat().st_size == len(BIG)
    lazy.server.faults[lazy.cache.nar_key("x")] = Fault(silent=True)
    begun = time.monotonic()
    with pytest.raises(OSError, match="Input/output error"):
        (path / "big").read_bytes()
    assert time.monotonic() - begun < 10


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
        if transport == "pyfuse3":  # libfuse does not tell of interrupts: only the end of the transfer ends the wait
            lazy.server.faults[lazy.cache.nar_key("slow")] = Fault(status=404)
            lazy.server.drop_connections()
        assert reader.wait(10) == -signal.SIGINT
    finally:
        reader.kill()
        reader.wait()
        lazy.server.faults.clear()
        lazy.server.drop_connections()


def test_many_readers_fetch_one_nar_once(lazy: Lazy, scratch: Path) -> None:
    path = lazy.add("x", ["gone"])
    lazy.server.delay = 0.02
    (scratch / "big").write_bytes(BIG)
    readers = [subprocess.Popen(["cmp", path / "big", scratch / "big"]) for _ in range(12)]
    assert [reader.wait(20) for reader in readers] == [0] * 12
    assert len(lazy.nars()) == 1
