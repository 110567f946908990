from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefs.config import Config, load_config
from storefs.errors import StoreError
from storefs.gc.reserve import drop_reserve, keep_reserve
from storefs.stores.local import LocalStore
from tests.conftest import Runner
from tests.store_invariants import check_invariants, check_nothing_is_left
from tests.storefs.gc.test_collector import add, path_named


def test_the_reserve_takes_room_and_gives_it_back(config: Config) -> None:
    os.makedirs(config.verglas_dir)
    reserve = Path(config.verglas_dir) / "reserve"
    keep_reserve(config)
    assert reserve.stat().st_size == 8 << 20
    assert reserve.stat().st_blocks * 512 >= 8 << 20
    keep_reserve(config)
    drop_reserve(config)
    assert not reserve.exists()
    drop_reserve(config)
    keep_reserve(config.with_settings([("gc-reserved-space", "4096")]))
    assert reserve.stat().st_size == 4096


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Path]:
    disk = scratch / "disk"
    disk.mkdir()
    if request.param == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    else:
        image = scratch / "image"
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        made = subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=False, capture_output=True)
        if made.returncode or subprocess.run(["mount", "-o", "loop", image, disk], check=False).returncode:
            pytest.skip("no loop device here")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.root
@pytest.mark.slow
def test_a_full_disk_is_collected(small_disk: Path, environ: dict[str, str], run: Runner, scratch: Path) -> None:
    environ["NIX_STATE_DIR"] = f"{small_disk}/state"
    config = load_config(environ)
    with LocalStore(config) as store:
        add(store, "kept", b"k" * 100_000)
        for number in range(30):
            add(store, f"p{number}", os.urandom(1 << 20))
    os.makedirs(f"{config.state_dir}/gcroots", exist_ok=True)
    os.symlink(f"{config.store_dir}/{path_named('kept')}", f"{config.state_dir}/gcroots/kept")
    with open(f"{small_disk}/ballast", "wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    assert os.statvfs(small_disk).f_bavail == 0

    # adding fails cleanly
    tree = scratch / "tree"
    tree.mkdir()
    for number in range(50):
        (tree / f"f{number}").write_bytes(os.urandom(100_000))
    failed = run("nix-store", "--add", tree, status=1)
    assert "no space left" in failed.stderr
    assert "Traceback" not in failed.stderr
    with LocalStore(config) as store:
        with pytest.raises(StoreError, match="no space left"):
            add(store, "more", os.urandom(1 << 20))
        check_invariants(store)
        assert b"".join(store.nar(path_named("kept")))

    # and collecting works
    done = run("nix-store", "--gc")
    assert done.stdout.startswith("30 store paths deleted")
    assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize > 25 << 20
    with LocalStore(config) as store:
        check_invariants(store)
        check_nothing_is_left(store)
    assert os.stat(f"{config.verglas_dir}/reserve").st_size == 8 << 20
    run("nix-store", "--add", tree)
