"""Locks between processes and threads."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from builder.locks import try_lock

if TYPE_CHECKING:
    from pathlib import Path


def test_who_comes_second_gets_none_of_a_set(scratch: Path) -> None:
    with try_lock(str(scratch / "locks"), ["b"]) as held:
        assert held is not None
        assert try_lock(str(scratch / "locks"), ["a", "b", "c"]) is None
        again = try_lock(str(scratch / "locks"), ["a", "c"])
        assert again is not None
        again.release()
    assert os.listdir(scratch / "locks") == []


def test_another_process_holds_it_until_it_dies(scratch: Path) -> None:
    code = (
        "import sys; from builder.locks import try_lock; held = try_lock(sys.argv[1], ['x']);"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, scratch], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert try_lock(str(scratch), ["x"]) is None
        other.kill()
        other.wait()
        locks = try_lock(str(scratch), ["x"])
        assert locks is not None
        locks.release()


def test_releasing_twice_is_harmless(scratch: Path) -> None:
    locks = try_lock(str(scratch), ["x"])
    assert locks is not None
    locks.release()
    locks.release()
