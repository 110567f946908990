"""Many readers compare every byte while paths are added, collected and repaired in the real store beneath."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.config import load_config
from storefs.errors import StoreError
from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.stores.local import LocalStore
from storefs.stores.mount_control import ask_all
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import Runner

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

READERS = 8
SECONDS = {"kernel": 60, "pyfuse3": 15}
DEEP_SECONDS = 3600
FEWEST_ROUNDS = 3
SIZES = {"small": 700, "blob": 30_000, "large": 900_000}

READER = """
import errno, hashlib, os, random, sys, time
root, sizes, deadline = sys.argv[1], eval(sys.argv[2]), float(sys.argv[3])
generator = random.Random(os.getpid())
files = gone = 0
while time.monotonic() < deadline:
    path = generator.choice(os.listdir(root))
    name = path.partition("-")[2]
    try:
        os.mkdir(f"{root}/{path}/new")
        sys.exit("something could be made")
    except OSError as error:
        if error.errno != errno.EROFS and not (error.errno == errno.ENOENT and name.startswith("brief")):
            sys.exit(f"making something: {error}")
    for file in sizes:
        try:
            descriptor = os.open(f"{root}/{path}/{file}", os.O_RDONLY)
        except OSError as error:
            if error.errno == errno.ENOENT and name.startswith("brief"):
                gone += 1
                continue
            sys.exit(f"open {path}/{file}: {error}")
        try:
            pieces = []
            while piece := os.read(descriptor, 65536):
                pieces.append(piece)
        except OSError as error:
            sys.exit(f"read {path}/{file}: {error}")
        finally:
            os.close(descriptor)
        if b"".join(pieces) != hashlib.shake_128(f"{name}/{file}".encode()).digest(sizes[file]):
            sys.exit(f"{path}/{file}: wrong bytes")
        files += 1
print(files, gone)
"""


def expected(content: str, file: str) -> bytes:
    return hashlib.shake_128(f"{content}/{file}".encode()).digest(SIZES[file])


def write_tree(folder: Path, name: str) -> Path:
    tree = folder / name
    tree.mkdir()
    for file in SIZES:
        (tree / file).write_bytes(expected(name, file))
    return tree


def add(store: LocalStore, folder: Path, name: str, *, content: str = "", replace: bool = False) -> StorePath:
    path = StorePath.from_digest(hash_bytes("sha1", name.encode()).digest, name)
    with store.intake(repair=replace) as intake:
        tree = intake.add_tree(str(write_tree(folder, content or name)), move=True)
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size, []))], replace=replace)
    subprocess.run(["rm", "-rf", folder / (content or name)], check=True)
    return path


@pytest.mark.parametrize("transport", SECONDS)
def test_readers_are_never_disturbed(
    run: Runner, environ: dict[str, str], scratch: Path, transport: str, pytestconfig: pytest.Config
) -> None:
    seconds = DEEP_SECONDS if pytestconfig.getoption("--deep") else SECONDS[transport]
    generator = random.Random(7)
    (scratch / "new").mkdir()
    with LocalStore(load_config(environ)) as store:
        stable = [f"stable-{index}" for index in range(6)]
        for name in stable:
            add(store, scratch / "new", name)
        run("verglas", "mount", "--background", "--transport", transport)
        try:
            deadline = time.monotonic() + seconds
            readers = [
                subprocess.Popen(
                    [sys.executable, "-c", READER, environ["NIX_STORE_DIR"], repr(SIZES), str(deadline)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                for _ in range(READERS)
            ]
            rounds = 0
            while rounds <= FEWEST_ROUNDS or time.monotonic() < deadline:
                brief = [add(store, scratch / "new", f"brief-{rounds}-{index}") for index in range(3)]
                add(store, scratch / "new", generator.choice(stable), replace=True)
                collector = store.collector()
                try:
                    collector.delete(brief, ignore_liveness=True)
                finally:
                    collector.close()
                rounds += 1
            results = [(*reader.communicate(), reader.returncode) for reader in readers]
            assert [error for _, error, _ in results if error] == []
            assert [status for _, _, status in results] == [0] * READERS
            assert sum(int(output.split()[0]) for output, _, _ in results) > 100
            # Collected files are not held when nobody reads them any more.
            wait_until(lambda: not any(answer["counters"]["collected files held"] for answer in status(store)))  # type: ignore[index]
        finally:
            run("verglas", "umount", "--lazy")
        assert Path(f"{store.config.verglas_dir}/mount.log").read_text() == ""


def status(store: LocalStore) -> list[dict[str, object]]:
    return ask_all(store.config.verglas_dir, {"op": "status"})


@pytest.mark.parametrize("transport", SECONDS)
def test_a_repaired_file_is_right_in_every_path_that_has_it(
    run: Runner, environ: dict[str, str], scratch: Path, transport: str
) -> None:
    (scratch / "new").mkdir()
    with LocalStore(load_config(environ)) as store:
        paths = [add(store, scratch / "new", name, content="shared") for name in ("stable-1", "stable-2")]
        for blob in Path(f"{store.config.verglas_dir}/blobs").glob("*/*"):
            blob.chmod(0o600)
            with blob.open("r+b") as damaged:
                damaged.write(b"damage")
        visible = [Path(environ["NIX_STORE_DIR"], path.base_name, "large") for path in paths]
        run("verglas", "mount", "--background", "--transport", transport)
        try:
            with visible[1].open("rb") as reader:
                assert [path.read_bytes()[:6] for path in visible] == [b"damage"] * 2, "and the kernel remembers it"
                add(store, scratch / "new", "stable-1", content="shared", replace=True)
                assert [path.read_bytes() for path in visible] == [expected("shared", "large")] * 2
                assert reader.read() == expected("shared", "large")
        finally:
            run("verglas", "umount", "--lazy")


@pytest.mark.root
def test_a_full_disk_does_not_disturb_readers(
    run: Runner, environ: dict[str, str], scratch: Path, expects_warnings: list[object]
) -> None:
    state = Path(environ["NIX_STATE_DIR"])
    state.mkdir()
    (scratch / "new").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "small", state], check=True)
    try:
        with LocalStore(load_config(environ)) as store:
            paths = [add(store, scratch / "new", f"stable-{index}") for index in range(10)]
            run("verglas", "mount", "--background")
            with (
                (state / "filler").open("wb", buffering=0) as filler,
                pytest.raises(OSError, match="No space left"),
            ):
                while True:
                    filler.write(bytes(1 << 16))
            assert os.statvfs(state).f_bavail == 0
            with pytest.raises(StoreError, match="no space left"):
                add(store, scratch / "new", "stable-too-much")
            for path in paths:
                for file in SIZES:
                    content = Path(environ["NIX_STORE_DIR"], path.base_name, file).read_bytes()
                    assert content == expected(path.name, file)
            collector = store.collector()
            try:
                collector.delete(paths[:1], ignore_liveness=True)
            finally:
                collector.close()
            assert paths[0].base_name not in os.listdir(environ["NIX_STORE_DIR"])
            run("verglas", "umount", "--lazy")
    finally:
        subprocess.run(["umount", "-l", state], check=True)


def test_a_stopped_mount_does_not_lose_what_it_serves(
    run: Runner, environ: dict[str, str], scratch: Path, expects_warnings: list[object]
) -> None:
    """The collector waits for a mount that does not answer, and leaves the bytes if it never does."""
    from storefs.stores import mount_control

    (scratch / "new").mkdir()
    patience, mount_control.PATIENCE = mount_control.PATIENCE, 0.2
    try:
        with LocalStore(load_config(environ)) as store:
            path = add(store, scratch / "new", "brief-1")
            run("verglas", "mount", "--background")
            visible = Path(environ["NIX_STORE_DIR"], path.base_name, "large")
            with visible.open("rb", buffering=0) as file:
                assert file.read(10)
                (answer,) = status(store)
                pid = int(str(answer["pid"]))
                os.kill(pid, signal.SIGSTOP)
                collector = store.collector()
                try:
                    collector.delete([path], ignore_liveness=True)
                finally:
                    collector.close()
                    os.kill(pid, signal.SIGCONT)
                file.seek(0)
                assert file.readall() == expected("brief-1", "large")
            run("verglas", "umount", "--lazy")
    finally:
        mount_control.PATIENCE = patience
