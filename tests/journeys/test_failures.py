"""What goes wrong on real machines: one line that names the object and the way out, exit status 1, nothing left."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import pytest

from storefs.metadata.schema import KEY_VERSION, META, SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Runner

_libc = ctypes.CDLL(None, use_errno=True)


def the_one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a failed command said, which must be an error of one line, and no result."""
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    return done.stderr


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[None]:
    """Mount a small file system in memory on `folder`."""
    folder.mkdir(exist_ok=True)
    assert _libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, options.encode()) == 0
    try:
        yield
    finally:
        assert _libc.umount2(os.fsencode(folder), 0) == 0, "somebody still uses it"


@pytest.mark.root
@pytest.mark.fuse
def test_a_store_directory_that_somebody_else_mounted(run: Runner, scratch: Path) -> None:
    with tmpfs(scratch / "store", "size=1m"):
        (scratch / "store/theirs").touch()
        line = the_one_line(run("verglas", "mount", "--background", status=1))
        assert f"'{scratch}/store'" in line
        assert (scratch / "store/theirs").exists()


def test_a_state_directory_of_a_newer_version(run: Runner, scratch: Path) -> None:
    path = run("nix-store", "--add", __file__).stdout.strip()
    with lmdb.open(f"{scratch}/state/verglas/db", max_dbs=32) as database, database.begin(write=True) as change:
        meta = database.open_db(META.encode(), change)
        assert change.get(KEY_VERSION, db=meta) == SCHEMA_VERSION.to_bytes(4, "little")
        change.put(KEY_VERSION, (SCHEMA_VERSION + 1).to_bytes(4, "little"), db=meta)
    line = the_one_line(run("nix-store", "-q", "--hash", path, status=1))
    assert f"'{scratch}/state/verglas/db'" in line
    assert "upgrade verglas" in line


@pytest.mark.root
def test_a_full_disk(run: Runner, scratch: Path) -> None:
    large = scratch / "large"
    large.write_bytes(os.urandom(40_000_000))
    with tmpfs(scratch / "state", "size=30m"):
        small = run("nix-store", "--add", __file__).stdout.strip()
        line = the_one_line(run("nix-store", "--add", large, status=1))
        assert f"{scratch}/state" in line
        assert "no space left" in line
        assert run("nix-store", "-q", "--size", small).stdout, "what was there can still be asked for"
        blobs = [
            path
            for path in (scratch / "state/verglas").rglob("*")
            if path.is_file() and path.stat().st_size > 20_000_000
        ]
        assert blobs == [], "half a file was left"
        run("nix-store", "--verify", "--check-contents")


def test_a_file_system_that_may_not_be_written(run: Runner, scratch: Path) -> None:
    (scratch / "state").touch()
    line = the_one_line(run("nix-store", "--add", __file__, status=1))
    assert f"{scratch}/state" in line


@pytest.mark.slow
@pytest.mark.fuse
def test_a_sandbox_path_that_is_not_there(run: Runner, scratch: Path) -> None:
    expression = 'derivation { name = "x"; system = builtins.currentSystem; builder = "/bin/sh"; }'
    words = ("verglas", "run", "nix-build", "--no-out-link", "-Q", "-E", expression)
    done = run(*words, "--option", "sandbox-paths", "/bin/sh=/no/busybox", status=None)
    assert done.returncode not in {0, 101, 102, 104}
    assert "'/no/busybox'" in done.stderr
    assert "internal error" not in done.stderr
    assert done.stdout == ""
    left = [path for path in (scratch / "state/verglas/tmp").rglob("*") if path.is_file()]
    assert left == []


@pytest.mark.slow
@pytest.mark.root
def test_a_chroot_has_no_user_namespaces(environ: dict[str, str], scratch: Path) -> None:
    (scratch / "root").mkdir()
    enter = 'mount --rbind / "$0" && exec chroot "$0" "$@"'
    expression = 'derivation { name = "x"; system = builtins.currentSystem; builder = "/bin/sh"; }'
    build = [Path(sys.executable).with_name("nix-build"), "--no-out-link", "-Q", "-E", expression]
    words = ["unshare", "-m", "sh", "-c", enter, scratch / "root", *build]
    done = subprocess.run(words, env=environ, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the kernel makes no user namespaces in a chroot" in done.stderr
