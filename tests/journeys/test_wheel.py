"""The wheel, built and installed into an environment that has never seen this checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ordinary_user import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]  # built once

PACKAGES = ("storefs", "builder", "evaluator", "profiles")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment with the wheel; its dependencies are those of the running one, as there is no network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in (*PACKAGES, "verglas.py", "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", folder, source], check=True
    )
    (wheel,) = folder.glob("verglas-*.whl")
    shutil.rmtree(source)
    empty = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", empty], check=True)
    python = empty / "bin/python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True)
    (packages,) = (empty / "lib").glob("python3*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("platlib") + "\n")
    yield empty
    shutil.rmtree(folder)


def test_every_command_starts(installed: Path) -> None:
    commands = [path for path in (installed / "bin").iterdir() if path.name.startswith(("nix", "verglas"))]
    assert len(commands) == 13
    for command in commands:
        done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
        assert "2.8.0" in done.stdout, command.name


def test_it_is_the_wheel_that_runs(installed: Path) -> None:
    modules = "verglas, storefs, evaluator.core.values"
    code = f"import {modules}; print(*(module.__file__ for module in ({modules})))"
    done = subprocess.run(
        [installed / "bin/python", "-c", code], capture_output=True, text=True, check=True, cwd=installed
    )
    starter, package, core = done.stdout.split()
    assert starter.startswith(f"{installed}/")
    assert package.startswith(f"{installed}/")
    assert core.startswith(f"{installed}/")
    assert core.endswith(".so"), "the evaluator's core is not compiled"
    assert len([*Path(core).parent.glob("together.*.so")]) == 1, "commands load it as one library"


def test_data_files_are_there(installed: Path) -> None:
    (packages,) = (installed / "lib").glob("python3*/site-packages")
    expected = {
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc", ".so", ".c", ".html", ".md"}
    }
    assert expected
    assert {path for path in expected if not (packages / path).exists()} == set()


def test_it_evaluates(installed: Path, environ: dict[str, str]) -> None:
    command = [installed / "bin/nix-instantiate", "--eval", "-E", "builtins.length [ <nix/fetchurl.nix> (1 + 1) ]"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
