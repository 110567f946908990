"""What the command scripts import with: it finds what Python finds, and leaves the rest to it."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGES, ROOT
from verglas import Finder

LOADERS = (importlib.machinery.ExtensionFileLoader, importlib.machinery.SourceFileLoader)


def test_every_module_is_found_as_python_finds_it() -> None:
    finder = Finder(str(ROOT))
    importlib.machinery.PathFinder.invalidate_caches()
    files = [file.relative_to(ROOT) for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    assert files
    for file in files:
        name = str(file.with_suffix("")).removesuffix("/__init__").replace("/", ".")
        folder = file.parent.parent if file.name == "__init__.py" else file.parent
        expected = importlib.machinery.PathFinder.find_spec(name, [str(ROOT / folder)])
        found = finder.find_spec(name)
        assert expected is not None
        assert found is not None, name
        facts = ["name", "has_location", "submodule_search_locations", "parent"]
        if Path(str(found.origin)).name.startswith("together."):
            assert name.startswith("evaluator.core.")
        else:
            facts += ["origin", "cached"]
        for fact in facts:
            assert getattr(found, fact) == getattr(expected, fact), (name, fact)
        assert [isinstance(found.loader, kind) for kind in LOADERS] == [
            isinstance(expected.loader, kind) for kind in LOADERS
        ], name


def test_the_core_is_loaded_from_one_library_where_there_is_one(tmp_path: Path) -> None:
    core = tmp_path / "evaluator/core"
    core.mkdir(parents=True)
    for name in ("nodes.py", "__init__.py"):
        (core / name).touch()
    finder = Finder(str(tmp_path))
    assert origin(finder, "evaluator.core.nodes") == f"{core}/nodes.py"
    together = core / f"together{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    together.touch()
    assert origin(finder, "evaluator.core.nodes") == str(together)
    assert origin(finder, "evaluator.core") == f"{core}/__init__.py"


def origin(finder: Finder, name: str) -> str | None:
    spec = finder.find_spec(name)
    assert spec is not None
    return spec.origin


def test_modules_of_others_and_those_that_are_not_there_are_left_to_python() -> None:
    finder = Finder(str(ROOT))
    assert finder.find_spec("tests") is None
    assert finder.find_spec("storefs.nothing_of_this_name") is None


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with the name of one of ours, whose one module prints a word."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "said.py").write_text("print('first')\n")
    return folder


def say(package: Path, *options: str, code: str = "import profiles.said") -> str:
    """Import the module in a process of its own and return what it printed, or how it failed."""
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from verglas import Finder
sys.meta_path.insert(0, Finder({str(package.parent)!r}))
{code}
"""
    done = subprocess.run(
        [sys.executable, "-I", *options, "-c", program], capture_output=True, text=True, check=False, env={}
    )
    return done.stdout + done.stderr


def compiled(package: Path) -> Path:
    (file,) = (package / "__pycache__").glob("said.*.pyc")
    return file


def test_what_has_not_been_compiled_is_and_stays_so(package: Path) -> None:
    assert say(package) == "first\n"
    assert say(package) == "first\n"
    assert compiled(package).exists()


def test_what_is_compiled_is_used(package: Path) -> None:
    """Its text is changed in place, so that only who reads it can say so."""
    say(package)
    file = compiled(package)
    file.write_bytes(file.read_bytes().replace(b"first", b"FIRST"))
    assert say(package) == "FIRST\n"


@pytest.mark.parametrize("changed", ["size", "time"])
def test_a_source_that_changed_is_compiled_anew(package: Path, changed: str) -> None:
    say(package)
    source = package / "said.py"
    before = source.stat()
    source.write_text("print('other')\n" if changed == "time" else "print('longer')\n")
    os.utime(source, (before.st_atime, before.st_mtime + (changed == "time")))
    assert say(package) == ("other\n" if changed == "time" else "longer\n")


def test_the_compiled_file_of_another_python_or_a_torn_one_is_made_anew(package: Path) -> None:
    say(package)
    file = compiled(package)
    whole = file.read_bytes()
    for damaged in (b"\0\0" + whole[2:], whole[:10], b""):
        file.write_bytes(damaged)
        assert say(package) == "first\n"
        assert file.read_bytes() == whole


def test_a_folder_that_was_moved_names_its_files_where_they_are(package: Path) -> None:
    say(package)
    moved = package.parent / "moved" / "profiles"
    moved.parent.mkdir()
    package.rename(moved)
    code = "import profiles.said; print(profiles.said.__loader__.get_code('profiles.said').co_filename)"
    assert say(moved, code=code) == f"first\n{moved}/said.py\n"


def test_a_traceback_shows_the_source(package: Path) -> None:
    (package / "said.py").write_text("def fail():\n    return 1 / 0\n")
    code = "import profiles.said; profiles.said.fail()"
    for _ in range(2):
        assert f'File "{package}/said.py", line 2, in fail\n    return 1 / 0\n' in say(package, code=code)


@pytest.mark.parametrize("options", [["-O"], ["-X", "pycache_prefix=/nowhere"], []])
def test_python_imports_where_compiled_files_are_called_something_else(options: list[str]) -> None:
    program = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
sys.dont_write_bytecode = True
sys.argv = ["nix-store", "--version"]
before = len(sys.meta_path)
os._exit = lambda status: print(len(sys.meta_path) - before)
import verglas
verglas.start()
"""
    done = subprocess.run([sys.executable, "-I", *options, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[1] == ("0" if options else "1")


def test_what_lies_beside_the_commands_is_not_imported(environ: dict[str, str], tmp_path: Path) -> None:
    command = shutil.copy(Path(sys.executable).parent / "nix-store", tmp_path)
    (tmp_path / "verglas.py").write_text("raise SystemExit('the wrong one')\n")
    done = subprocess.run([command, "--version"], env=environ, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("nix-store (Nix) 2.8.0\n", "")


def test_the_commands_use_it(environ: dict[str, str]) -> None:
    """Python's importer is asked for one module of ours."""
    command = Path(sys.executable).parent / "nix-store"
    done = subprocess.run(
        [command, "--version"], env=environ | {"PYTHONVERBOSE": "1"}, capture_output=True, text=True, check=True
    )
    asked = [line.rpartition("/")[2] for line in done.stderr.splitlines() if f" matches {ROOT}/" in line]
    assert asked == ["verglas.py"]
