"""What is compiled for the mount gives the same answers as plain Python: its tests once more, from source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TESTS = (
    "tests/storefs/metadata/test_entry_search.py",
    "tests/storefs/fuse/test_at_once.py",
    "tests/storefs/fuse/test_kernel.py",
    "tests/storefs/fuse/test_operations.py",
    "tests/storefs/fuse/test_kernel_wire.py",
    "tests/storefs/fuse/test_forest.py",
    "tests/storefs/fuse/test_view.py",
    "tests/contracts/test_forest.py",
    "tests/fuzz/test_kernel_requests.py",
)
PROGRAM = """
import sys
from tests.lang import uncompiled
uncompiled.install()
from storefs.metadata import entry_search
from storefs.fuse import at_once, kernel_device, operations
assert all(module.__file__.endswith(".py") for module in (entry_search, at_once, kernel_device, operations))
import pytest
sys.exit(pytest.main(["-q", "-p", "no:xdist", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_the_tests_pass_uncompiled() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *TESTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
