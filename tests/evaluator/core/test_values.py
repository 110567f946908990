"""What values.py sets up for a whole process: where small objects lie."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from evaluator.core import values

# Makes 2 MB of small objects and prints by how many KiB the memory in use grew at most while a hundred were made.
GROW = """
import evaluator.core.values

def used():
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))

used()
kept, sizes = [], []
for _ in range(300):
    kept.append([(i,) for i in range(1000, 1100)])
    sizes.append(used())
print(max(after - before for before, after in zip(sizes, sizes[1:])))
"""


@pytest.mark.skipif("cpython" not in values.__file__, reason="for the compiled core")
@pytest.mark.skipif(
    tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < (5, 14), reason="MADV_POPULATE_WRITE"
)
def test_the_first_arenas_are_put_there_at_once():
    run = subprocess.run([sys.executable, "-c", GROW], capture_output=True, text=True, check=True)
    assert int(run.stdout) > 900  # a whole arena of 1 MiB; page by page it would be a dozen
