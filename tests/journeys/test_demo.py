"""The demo, as a newcomer runs it: every step, as root and as an ordinary user, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import ordinary_user

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 16
COMMAND = [sys.executable, str(ordinary_user.ROOT / "demo/run.py")]

needs = pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("busybox")), reason="the demo compiles C in a sandbox with busybox"
)


def run_demo(words: list[str], folder: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(folder), "TMPDIR": str(folder)}
    done = subprocess.run(words, env=environ, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert os.listdir(folder) == [], "the demo left files"
    return done


def check_transcript(text: str) -> None:
    lines = text.splitlines()
    assert len([line for line in lines if line.endswith(" ms")]) == STEPS, text
    assert lines[-1] == "Nothing is left: no mount, no process, no file."


@needs
@pytest.mark.slow
@pytest.mark.fuse
def test_every_step_works(scratch: Path) -> None:
    check_transcript(run_demo(COMMAND, scratch).stdout)


@needs
@pytest.mark.slow
@pytest.mark.fuse
@pytest.mark.root
def test_every_step_works_for_an_ordinary_user(scratch: Path) -> None:
    os.chown(scratch, ordinary_user.UID, ordinary_user.UID)
    check_transcript(run_demo(ordinary_user.command_line(COMMAND), scratch).stdout)


@pytest.mark.root
@pytest.mark.parametrize("program", ["gcc", "busybox"])
def test_a_missing_program_is_named_before_anything_happens(scratch: Path, program: str) -> None:
    where = shutil.which(program)
    if where is None:
        pytest.skip(f"{program} is not there to be taken away")
    os.chown(scratch, ordinary_user.UID, ordinary_user.UID)
    words = ordinary_user.command_line(COMMAND, without=(where,))
    done = run_demo(words, scratch, status=1)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"'{program}'" in done.stderr


@pytest.mark.root
@pytest.mark.parametrize(
    ("lacking", "said"),
    [({"fuse": None}, "'/dev/fuse' does not exist"), ({"namespaces": False}, "can't enter a user namespace")],
    ids=["fuse", "namespaces"],
)
def test_a_machine_without_what_it_takes(scratch: Path, lacking: dict[str, None], said: str) -> None:
    os.chown(scratch, ordinary_user.UID, ordinary_user.UID)
    done = run_demo(ordinary_user.command_line(COMMAND, **lacking), scratch, status=1)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
