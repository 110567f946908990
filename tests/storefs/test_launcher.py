"""The scripts that start the programs: ^C before there is anything to clean up, and when all is done."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import BIN

if TYPE_CHECKING:
    from pathlib import Path

INTERRUPT = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"


def version(environ: dict[str, str], folder: Path, *, ignoring: bool = False) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"] if ignoring else []
    command += [str(BIN / "nix-store"), "--version"]
    environ = environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_interrupted_while_it_imports(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "verglas.py").write_text(INTERRUPT)
    done = version(environ, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("ignoring", [False, True])
def test_interrupted_when_all_is_done(environ: dict[str, str], tmp_path: Path, ignoring: bool) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import atexit\natexit.register(lambda: exec({INTERRUPT!r}))\n")
    done = version(environ, tmp_path, ignoring=ignoring)
    assert done.stdout == "nix-store (Nix) 2.8.0\n"
    assert (done.returncode, done.stderr) == (0 if ignoring else -signal.SIGINT, "")
