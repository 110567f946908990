"""The order of equal elements is that of std::sort: compared with a program that calls it, and with known orders."""

from __future__ import annotations

import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.nix_env.introsort import sort_like_libstdcxx

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
#include <algorithm>
#include <iostream>
#include <vector>
int main() {
    std::vector<std::pair<int, int>> pairs;
    for (int key, place = 0; std::cin >> key;) pairs.push_back({key, place++});
    std::sort(pairs.begin(), pairs.end(), [](auto & a, auto & b) { return a.first < b.first; });
    for (auto & pair : pairs) std::cout << pair.second << " ";
}
"""


def order(keys: list[int]) -> list[int]:
    return sort_like_libstdcxx(list(range(len(keys))), lambda place: b"%09d" % keys[place])


@given(st.lists(st.integers(0, 20), max_size=200))
def test_is_a_sorted_permutation(keys: list[int]) -> None:
    places = order(keys)
    assert sorted(places) == list(range(len(keys)))
    assert [keys[place] for place in places] == sorted(keys)


def test_short_lists_are_stable_and_long_ones_are_not() -> None:
    assert order([1, 0, 1, 0, 1]) == [1, 3, 0, 2, 4]
    # What a program with std::sort of GCC 12 printed.
    assert order([index % 3 for index in range(20)]) == [
        *(18, 3, 15, 6, 12, 9, 0),
        *(10, 19, 16, 13, 7, 4, 1),
        *(11, 8, 14, 5, 17, 2),
    ]


@pytest.mark.slow
def test_same_order_as_the_real_one(scratch: Path) -> None:
    compiler = shutil.which("g++", path="/usr/bin")
    if compiler is None:
        pytest.skip("g++ is not installed")
    (scratch / "sort.cc").write_text(PROGRAM)
    subprocess.run(
        [compiler, "-O1", "-o", scratch / "sort", scratch / "sort.cc"], check=True, env={"PATH": "/usr/bin:/bin"}
    )
    source = random.Random(7)
    for size in (0, 1, 5, 16, 17, 40, 300, 3000):
        for repetition in (1, 3, 20):
            keys = [source.randrange(max(1, size // repetition)) for _ in range(size)]
            # Halves that are sorted, as packages come: the median of three is a bad pivot then, and heap sort ends it.
            pipe = sorted(keys[::2]) + sorted(keys[1::2], reverse=True)
            for each in (keys, pipe, sorted(keys)):
                text = " ".join(map(str, each))
                done = subprocess.run([scratch / "sort"], input=text, capture_output=True, text=True, check=True)
                assert order(each) == [int(word) for word in done.stdout.split()]
