"""The hint to the file system about folders that are filled and emptied again and again."""

import shutil
import subprocess
from pathlib import Path

import pytest

from storefs.placement import spread_folders


def test_folder_becomes_the_top_of_hierarchies(scratch: Path) -> None:
    if shutil.which("lsattr") is None:
        pytest.skip("needs lsattr")
    folder = scratch / "areas"
    folder.mkdir()
    before = subprocess.run(["lsattr", "-d", folder], capture_output=True, text=True, check=False)
    if before.returncode:
        pytest.skip("this file system has no such attributes")
    spread_folders(str(folder))
    spread_folders(str(folder))  # again changes nothing
    flags = subprocess.run(["lsattr", "-d", folder], capture_output=True, text=True, check=True).stdout.split()[0]
    assert set(flags) - {"-"} == set(before.stdout.split()[0]) - {"-"} | {"T"}


def test_places_without_the_attribute_stay_as_they_are(scratch: Path) -> None:
    spread_folders(str(scratch / "nothing"))
    spread_folders("/proc/self")
    (scratch / "file").touch()
    spread_folders(str(scratch / "file"))
    assert (scratch / "file").read_bytes() == b""
