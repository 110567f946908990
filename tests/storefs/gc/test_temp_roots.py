from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storefs.formats.store_path import StoreDir, StorePath
from storefs.gc.temp_roots import CollectorLock, TempRootReader, TempRoots
from tests.conftest import Runner

STORE = StoreDir("/nix/store")
A, B = (StorePath("0" * 32 + f"-{name}") for name in "ab")


def read(scratch: Path) -> dict[str, str]:
    return TempRootReader(str(scratch), STORE).read()


def test_roots_hold_while_their_owner_lives(scratch: Path) -> None:
    roots = TempRoots(str(scratch), STORE)
    assert read(scratch) == {}
    roots.add(A)
    roots.add(B)
    roots.add(A)
    label = f"{{temp:{os.getpid()}}}"
    assert read(scratch) == {A.base_name: label, B.base_name: label}
    assert (scratch / "temproots" / str(os.getpid())).read_bytes() == f"/nix/store/{A}\0/nix/store/{B}\0".encode()
    roots.close()
    assert read(scratch) == {}
    assert os.listdir(scratch / "temproots") == []


def test_commands_leave_no_file(run: Runner, scratch: Path, environ: dict[str, str]) -> None:
    (scratch / "file").write_text("contents")
    derivation = 'derivation { name = "x"; system = "s"; builder = "b"; }'
    run("nix-store", "--add", scratch / "file")
    run("nix-instantiate", "-E", derivation)
    run("nix-build", "-E", derivation, status=None)
    assert os.listdir(f"{environ['NIX_STATE_DIR']}/temproots") == []


def test_the_state_directory_is_removed_meanwhile(scratch: Path) -> None:
    roots = TempRoots(str(scratch / "state"), STORE)
    roots.add(A)
    shutil.rmtree(scratch / "state")
    roots.close()


def test_two_owners_in_one_process(scratch: Path) -> None:
    one, two = TempRoots(str(scratch), STORE), TempRoots(str(scratch), STORE)
    one.add(A)
    two.add(B)
    assert set(read(scratch)) == {A.base_name, B.base_name}
    one.close()
    assert set(read(scratch)) == {B.base_name}
    two.close()


def test_a_reader_notices_what_is_added_later(scratch: Path) -> None:
    roots = TempRoots(str(scratch), STORE)
    reader = TempRootReader(str(scratch), STORE)
    roots.add(A)
    assert set(reader.read()) == {A.base_name}
    roots.add(B)
    assert set(reader.read()) == {A.base_name, B.base_name}
    roots.close()


@pytest.mark.slow
def test_a_killed_owner_leaves_nothing(scratch: Path) -> None:
    code = f"""
import sys
from storefs.formats.store_path import StoreDir, StorePath
from storefs.gc.temp_roots import TempRoots
roots = TempRoots({str(scratch)!r}, StoreDir("/nix/store"))
roots.add(StorePath({A.base_name!r}))
print("ready", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        assert read(scratch) == {A.base_name: f"{{temp:{owner.pid}}}"}
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert (scratch / "temproots" / str(owner.pid)).exists()
    assert read(scratch) == {}
    assert os.listdir(scratch / "temproots") == []


def test_nobody_adds_a_root_while_a_batch_is_removed(scratch: Path) -> None:
    roots = TempRoots(str(scratch), STORE)
    order = []
    lock = CollectorLock(str(scratch), exclusive=True)
    with lock:
        adder = threading.Thread(target=lambda: (roots.add(A), order.append("added")))
        adder.start()
        adder.join(0.05)
        order.append("removed")
    adder.join()
    assert order == ["removed", "added"]
    lock.close()
    roots.close()


def test_an_owner_that_ends_and_begins_again_while_it_is_read(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its old file may go between our opening it and our having its lock; the new one of that name must stay."""
    old, new = TempRoots(str(scratch), STORE), TempRoots(str(scratch), STORE)
    old.add(A)
    lock = fcntl.flock

    def change_first(fd: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        old.close()
        new.add(B)
        lock(fd, operation)

    reader = TempRootReader(str(scratch), STORE)
    monkeypatch.setattr(fcntl, "flock", change_first)
    assert list(reader.read()) == [B.base_name]
    assert list(reader.read()) == [B.base_name]
    new.close()
