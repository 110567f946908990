"""What values.py sets up for a whole process: where small objects lie."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from evaluator.core import values
from tests.evaluator.evaluating import value

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


@pytest.mark.parametrize(
    "merged",
    [
        "a // b",
        "b // a",
        "a // (l // b)",
        "b // (a // l)",
        "l // (a // b) // { v = 1; }",
        "(a // m) // (n // a)",
        'a // removeAttrs b [ "y" ]',
        'removeAttrs (a // b) [ "z" ] // l',
        "a // builtins.intersectAttrs { z = 1; y = 1; } b",
        "p // a // p",
        'a // { ${"d" + "e"} = 1; } // b',
        "builtins.foldl' (x: y: y // x) { } [ a b l m n a ]",
    ],
)
def test_merged_sets_know_where_each_attribute_was_defined(merged: str) -> None:
    """Told from what the attributes are: each has the line on which it is written for a value."""
    text = f"""let
      pair = name: {{
        inherit name;
        value = 4;
      }};
      a = {{ x = 6;
        y = 7; }};
      b = {{ y = 8;
        z = 9; }};
      l = builtins.listToAttrs (map pair [ "q" "x" ]);
      m = builtins.listToAttrs (map pair [ "a" "b" "c" "d" "e" "f" "y" ]);
      n = builtins.listToAttrs [ (pair "x") {{ name = "w"; value = 12; }} ];
      p = builtins.mapAttrs (k: v: 0) {{ x = 1; y = 2; }};
    in let made = {merged}; in
      map (k: [ (made.${{k}}) (builtins.unsafeGetAttrPos k made) ]) (builtins.attrNames made)"""
    for found, where in value(text):
        if found == 0:
            assert where is None
        elif found != 1:
            assert where["line"] == found
