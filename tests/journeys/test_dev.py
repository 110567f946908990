"""The script `dev`, on a machine that lacks packages and on one that has all."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests import ordinary_user
from tests.architecture.sources import compiled_modules
from tests.ordinary_user import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def checkout(scratch: Path) -> Path:
    """A copy of what `./dev setup` looks at, without an environment."""
    folder = scratch / "checkout"
    (folder / "evaluator/core").mkdir(parents=True)
    for name in ("dev", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("values.py", "values.pxd"):
        shutil.copy(ROOT / "evaluator/core" / name, folder / "evaluator/core")
    for module in compiled_modules():
        (folder / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / module, folder / module)
    return folder


@pytest.mark.root
def test_names_the_packages_that_only_root_can_install(checkout: Path, scratch: Path) -> None:
    stubs = scratch / "stubs"
    stubs.mkdir()
    for program, text in {"dpkg": "exit 1", "apt-get": "echo must not be called; exit 1"}.items():
        (stubs / program).write_text(f"#!/bin/sh\n{text}\n")
        (stubs / program).chmod(0o755)
    scratch.chmod(0o755)
    done = subprocess.run(
        ordinary_user.command_line(["./dev", "setup"]),
        cwd=checkout,
        env={"PATH": f"{stubs}:/usr/bin:/bin", "HOME": str(scratch)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if shutil.which("sudo"):
        pytest.skip("sudo could ask for a password here")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    for package in ("gcc", "libfuse3-dev", "fuse3", "busybox-static", "pkg-config"):
        assert f" {package}" in done.stderr


def test_an_unknown_errand_shows_the_known_ones(checkout: Path) -> None:
    done = subprocess.run([checkout / "dev", "wash-up"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    for errand in ("setup", "demo", "test", "check", "bench", "clean"):
        assert errand in done.stderr


def test_what_was_interrupted_is_done_again(checkout: Path, scratch: Path) -> None:
    """Also when what had changed is as it was before: half of another environment is in .venv then."""
    stubs, venv = scratch / "stubs", checkout / ".venv"
    left = venv / "lib/python3.11/site-packages/distutils-precedence.pth"
    for folder in (stubs, venv / "bin", left.parent):
        folder.mkdir(parents=True)
    scripts = {
        stubs / "dpkg": "echo Status: install ok installed",
        venv / "bin/pip": "",
        venv / "bin/verglas": "",
        venv / "bin/python": f'case "$*" in *install*) touch {left}; test ! -e {scratch}/interrupted;; esac',
    }
    for path, text in scripts.items():
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def setup() -> int:
        env = {"PATH": f"{stubs}:/usr/bin:/bin", "HOME": str(scratch)}
        return subprocess.run([checkout / "dev", "setup"], env=env, capture_output=True, check=False).returncode

    assert setup() == 0
    assert not left.exists()
    wanted = (checkout / "pyproject.toml").read_text()
    (checkout / "pyproject.toml").write_text(wanted + "# another one\n")
    (scratch / "interrupted").touch()
    assert setup() != 0
    assert left.exists()
    (checkout / "pyproject.toml").write_text(wanted)
    (scratch / "interrupted").unlink()
    assert setup() == 0
    assert not left.exists()
