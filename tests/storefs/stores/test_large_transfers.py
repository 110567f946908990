"""Sizes at which memory would show: an archive of 4 GB, a closure of 60,000 paths. With --deep; small ones always."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.config import Config, load_config
from storefs.formats.hashes import Hash, Hasher, hash_bytes
from storefs.formats.nar import Directory, EndDirectory, Regular, write_nar
from storefs.formats.narinfo import NarInfo
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StoreDir, StorePath
from storefs.metadata.schema import INLINE_LIMIT
from storefs.stores.local import LocalStore
from tests.conftest import BIN
from tests.daemon_process import DaemonProcess

if TYPE_CHECKING:
    from storefs.formats.nar import Event

pytestmark = pytest.mark.slow

_PIECE = 1 << 20
_FILES_IN_ONE = 256  # a folder's entries are held together


# A program's record of its largest size begins with that of whoever forked it: here with that of pytest.
_MEASURE = """
import os, sys
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
print("\\npeak", usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_of(environ: dict[str, str], *words: str) -> int:
    """Run one of our commands; returns the most memory it ever had, in bytes."""
    command = [sys.executable, "-S", "-c", _MEASURE, str(BIN / words[0]), *words[1:]]
    done = subprocess.run(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    peak = int(done.stdout.split()[-1]) << 10
    print(f"{words[0]} {words[1]} ... {words[-1]}: {peak >> 20} MiB at most")
    return peak


class TestArchive:
    """An archive much larger than the memory that may be used for it."""

    @pytest.fixture(
        params=[pytest.param(256 << 20, id="256 MB"), pytest.param(4 << 30, id="4 GB", marks=pytest.mark.deep)]
    )
    def path(self, request: pytest.FixtureRequest, scratch: Path, environ: dict[str, str]) -> StorePath:
        """The path of a large file in a cache that is a folder, uncompressed and, but for a few bytes, a hole."""
        size: int = request.param
        cache = scratch / "cache"
        cache.mkdir()
        head, *_, tail = write_nar([Regular(b"", False, size), *([memoryview(bytes(_PIECE))] * (size // _PIECE))])
        hasher = Hasher("sha256")
        with (cache / "large.nar").open("wb") as file:
            file.write(head)
            file.seek(size, os.SEEK_CUR)
            file.write(tail)
        for piece in self.pieces(cache / "large.nar"):
            hasher.update(piece)
        digest, whole = hasher.finish(), hasher.size
        path = StorePath("0" * 32 + "-large")
        self.describe(cache, StoreDir(environ["NIX_STORE_DIR"]), path, digest, whole)
        return path

    @staticmethod
    def pieces(file: Path) -> Iterator[bytes]:
        with file.open("rb") as opened:
            while piece := opened.read(_PIECE):
                yield piece

    @staticmethod
    def describe(cache: Path, directory: StoreDir, path: StorePath, digest: Hash, size: int) -> None:
        (cache / "nix-cache-info").write_text(f"StoreDir: {directory.path}\n")
        narinfo = NarInfo(PathInfo(path, digest, size), "large.nar", "none", digest, size)
        (cache / f"{path.hash_part}.narinfo").write_text(narinfo.to_text(directory))

    @pytest.fixture(
        params=[pytest.param(128 << 20, id="128 MB"), pytest.param(4 << 30, id="4 GB", marks=pytest.mark.deep)]
    )
    def path_of_many(self, request: pytest.FixtureRequest, scratch: Path, environ: dict[str, str]) -> StorePath:
        """The path of a tree of different files, each as large as one may be whose contents are in the database."""
        size = INLINE_LIMIT
        cache = scratch / "cache"
        cache.mkdir()

        def events() -> Iterator[Event]:
            yield Directory(b"")
            for folder in range(request.param // (_FILES_IN_ONE * size)):
                yield Directory(b"%04d" % folder)
                for number in range(_FILES_IN_ONE):
                    yield Regular(b"%04d" % number, executable=False, size=size)
                    yield b"%08d%08d" % (folder, number) * (size // 16)
                yield EndDirectory()
            yield EndDirectory()

        hasher = Hasher("sha256")
        with (cache / "large.nar").open("wb") as file:
            for piece in write_nar(events()):
                hasher.update(piece)
                file.write(piece)
        digest, whole = hasher.finish(), hasher.size
        path = StorePath("0" * 32 + "-large")
        self.describe(cache, StoreDir(environ["NIX_STORE_DIR"]), path, digest, whole)
        return path

    @pytest.fixture
    def url(self, scratch: Path) -> Iterator[str]:
        words = [
            sys.executable,
            "-u",
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "--directory",
            scratch / "cache",
            "0",
        ]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            try:
                yield "http://127.0.0.1:" + server.stdout.readline().split(" port ")[1].split()[0]
            finally:
                server.terminate()

    def test_it_is_fetched_in_less_than_100_mb(self, environ: dict[str, str], url: str, path: StorePath) -> None:
        self.fetch(environ, url, path)

    def test_so_is_one_of_many_files(self, environ: dict[str, str], url: str, path_of_many: StorePath) -> None:
        self.fetch(environ, url, path_of_many)

    @staticmethod
    def fetch(environ: dict[str, str], url: str, path: StorePath) -> None:
        environ["NIX_CONFIG"] = f"substituters = {url}\nrequire-sigs = false\nauto-mount = false\n"
        shown = f"{environ['NIX_STORE_DIR']}/{path.base_name}"
        # Without the mount that nix-store starts: the command is what is measured.
        assert peak_of(environ, "verglas", "copy", "--from", url, shown) < 100_000_000
        with LocalStore(load_config(environ)) as store:
            info = store.path_info(path)
            assert sum(map(len, store.nar(path))) == info.nar_size


class TestClosure:
    """Very many small paths, from everywhere to everywhere."""

    MOST_PER_PATH = 4 << 10  # bytes, beyond what the program needs for a few
    FEW = 60 << 20

    @pytest.fixture(params=[pytest.param(1_000), pytest.param(60_000, marks=pytest.mark.deep)])
    def paths(self, request: pytest.FixtureRequest, config: Config) -> list[StorePath]:
        """A closure; the last path reaches all."""
        made: list[StorePath] = []
        with LocalStore(config) as store:
            for start in range(0, request.param, 5_000):
                with store.intake() as intake:
                    additions = []
                    for number in range(start, min(start + 5_000, request.param)):
                        tree = intake.add_bytes(b"number %d\n" % number)
                        path = store.directory.make_text_path("package", hash_bytes("sha256", b"%d" % number))
                        references = [made[number // 2], made[-1]] if made else []
                        made.append(path)
                        additions.append((tree, PathInfo(path, tree.nar_hash, tree.nar_size, references)))
                    intake.register(additions)
        return made

    @staticmethod
    def other(environ: dict[str, str], name: str) -> dict[str, str]:
        return {**environ, "NIX_STATE_DIR": f"{environ['HOME']}/{name}"}

    @staticmethod
    def count(environ: dict[str, str]) -> int:
        with LocalStore(load_config(environ)) as store:
            return sum(1 for _ in store.all_valid_paths())

    def test_it_is_copied_in_memory_of_its_size(
        self, environ: dict[str, str], scratch: Path, paths: list[StorePath]
    ) -> None:
        top = f"{environ['NIX_STORE_DIR']}/{paths[-1].base_name}"
        most = self.FEW + len(paths) * self.MOST_PER_PATH
        cache, chroot = f"file://{scratch}/cache?compression=none", f"{scratch}/chroot"
        copy = ("verglas", "copy", "--no-check-sigs")
        two, three = self.other(environ, "two"), self.other(environ, "three")
        assert peak_of(environ, *copy, "--to", cache, top) < most
        assert peak_of(two, *copy, "--from", cache, top) < most
        assert peak_of(two, *copy, "--to", chroot, top) < most
        assert peak_of(three, *copy, "--from", chroot, top) < most
        assert self.count(two) == self.count(three) == len(paths)

    @pytest.mark.root
    @pytest.mark.fuse
    def test_through_a_daemon(self, environ: dict[str, str], scratch: Path, paths: list[StorePath]) -> None:
        top = f"{environ['NIX_STORE_DIR']}/{paths[-1].base_name}"
        most = self.FEW + len(paths) * self.MOST_PER_PATH
        with DaemonProcess(self.other(environ, "served"), "require-sigs = false\n") as daemon:
            uri = f"unix://{daemon.socket_path}"
            assert peak_of(environ, "verglas", "copy", "--no-check-sigs", "--to", uri, top) < most
            assert self.count(daemon.daemon_env) == len(paths)
            back = self.other(environ, "back")
            assert peak_of(back, "verglas", "copy", "--no-check-sigs", "--from", uri, top) < most
            assert self.count(back) == len(paths)
