"""What values.py is for a whole process: where small objects lie, and what sets have in common."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from random import Random

import pytest

from evaluator.core import values
from evaluator.core.values import force
from tests.evaluator.evaluating import new_state, value

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


def literal(names: list[str], value: int) -> str:
    return "{ " + "".join(f"{name} = {value}; " for name in names) + "}"


@pytest.mark.parametrize("seed", range(20))
def test_sets_that_share_their_names_merge_as_dicts_do(seed: int) -> None:
    """Every merge is made several times: what the first one learns, the others use."""
    random = Random(seed)
    pool = [f"a{i}" for i in range(random.choice([4, 12, 60, 120]))]
    kinds = [random.sample(pool, random.randrange(len(pool) + 1)) for _ in range(5)]
    steps = [random.randrange(5) for _ in range(30)]
    removed = random.sample(pool, 2)
    sets = " ".join(f"({literal(names, 10 + kind)})" for kind, names in enumerate(kinds))
    merged = f"(foldl' (a: k: a // elemAt sets k) {{ }} [ {' '.join(map(str, steps))} ])"
    made = f"mapAttrs (_: v: v + n) (removeAttrs {merged} [ {json.dumps(removed[0])} {json.dumps(removed[1])} ])"
    results = value(f"with builtins; genList (n: let sets = [ {sets} ]; in {made}) 4")
    expected = {name: 10 + step for step in steps for name in kinds[step] if name not in removed}
    assert results == [{name: v + n for name, v in expected.items()} for n in range(4)]


def test_python_may_do_with_a_set_what_it_does_with_a_dict() -> None:
    text = "builtins.genList (n: ({ a = n; b = 2; } // { b = 3; c = 4; })) 4"
    sets = [dict.copy(force(each)) for each in new_state().evaluate_text(text, "/")]
    for n, each in enumerate(sets):
        assert (sorted(each), list(each.items())) == (["a", "b", "c"], [("a", n), ("b", 3), ("c", 4)])
        assert each | {"d": 5} == {"a": n, "b": 3, "c": 4, "d": 5}
        each["d"] = 5
        each["a"] = 6
        assert (each.pop("b"), each.popitem(), each) == (3, ("d", 5), {"a": 6, "c": 4})
        each.clear()
        assert each == {}


def test_a_long_chain_of_sets_goes_without_recursion() -> None:
    assert value("with builtins; (foldl' (next: n: { inherit next n; }) null (genList (n: n) 500000)).n") == 499999


@pytest.mark.skipif("cpython" not in values.__file__, reason="for the compiled core")
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="other dicts")
@pytest.mark.parametrize(
    "text",
    [
        "{ a = n; b = 1; c = 2; }",
        "{ a = n; b = 1; } // { b = 2; c = 3; }",
        'removeAttrs { a = n; b = 1; c = 2; d = 3; } [ "d" ]',
        "mapAttrs (_: v: v) { a = n; b = 1; c = 2; }",
        'listToAttrs (map (name: { inherit name; value = n; }) [ "a" "b" "c" ])',
        "intersectAttrs { a = 1; b = 2; c = 3; e = 4; } { a = n; b = 1; c = 2; d = 3; }",
    ],
)
def test_sets_of_one_kind_share_their_names(text: str) -> None:
    sets = [force(each) for each in new_state().evaluate_text(f"with builtins; genList (n: {text}) 4", "/")]
    assert [sorted(each) for each in sets] == [["a", "b", "c"]] * 4
    assert sys.getsizeof(dict(**sets[3])) - sys.getsizeof(sets[3]) > 60
