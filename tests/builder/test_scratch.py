"""Where outputs are made, and what dead processes left there."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from builder.scratch import REMOVE, Scratch
from tests.leaks import child_processes

if TYPE_CHECKING:
    import pytest

    from storefs.config import Config


def test_two_processes_remove_what_a_third_one_left(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    builds = f"{config.verglas_dir}/builds"
    os.makedirs(f"{builds}/1-dead/1/root")
    lock = fcntl.flock

    def lock_too_late(descriptor: int, operation: int) -> None:
        shutil.rmtree(f"{builds}/1-dead", ignore_errors=True)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_too_late)
    scratch = Scratch(config)
    scratch.open()
    assert len(os.listdir(builds)) == 1
    scratch.close()
    assert os.listdir(builds) == []


def make(folder: str) -> None:
    for number in range(20):
        os.makedirs(f"{folder}/{number}")
        for each in range(60):
            open(f"{folder}/{number}/{each}", "x").close()


def discard_large(config: Config, program: str) -> tuple[Scratch, int]:
    """Discard something large; return who did, and the process that is to remove it, which runs `program`."""
    scratch = Scratch(config, program=program)
    scratch.open()
    build = scratch.new_directory()
    make(f"{build}/store")
    scratch.discard(f"{build}/store")
    assert not os.path.exists(f"{build}/store")
    (process,) = child_processes()
    return scratch, process


def test_what_is_large_is_removed_by_a_process_that_holds_a_lock(config: Config, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    scratch, process = discard_large(config, f"open({str(fifo)!r}).read(); {REMOVE}")
    scratch.close()
    assert len(left := os.listdir(f"{config.verglas_dir}/builds")) == 1
    other = Scratch(config)
    other.open()
    other.close()
    assert os.listdir(f"{config.verglas_dir}/builds") == left  # whoever comes leaves it alone
    fifo.write_text("go")
    os.waitpid(process, 0)
    assert os.listdir(f"{config.verglas_dir}/builds") == []


def test_what_its_process_did_not_finish_is_removed_by_whoever_comes_next(config: Config, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    scratch, process = discard_large(config, f"open({str(fifo)!r}).read()")
    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    scratch.close()
    assert len(os.listdir(f"{config.verglas_dir}/builds")) == 1
    other = Scratch(config)
    other.open()
    other.close()
    assert os.listdir(f"{config.verglas_dir}/builds") == []


def test_what_is_small_is_removed_at_once(config: Config) -> None:
    scratch = Scratch(config)
    scratch.open()
    build = scratch.new_directory()
    os.makedirs(f"{build}/store/inner/most")
    scratch.discard(f"{build}/store")
    assert child_processes() == {}
    assert not os.path.exists(f"{build}/store")
    scratch.close()
