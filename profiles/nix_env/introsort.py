"""Sorting as `std::sort` of libstdc++ does: the same order of equal elements, which is not the order they came in.

`nix-env --query` sorts by name with it, and nixpkgs has many packages of equal names; with another algorithm the lines
of equal packages would come in another order than Nix prints them. Pure. Algorithm: bits/stl_algo.h of GCC 12
(introsort: median of three, Hoare's partition, heap sort where that goes too deep, insertion sort below 16).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")

_THRESHOLD = 16


def sort_like_libstdcxx(items: Sequence[T], key: Callable[[T], bytes]) -> list[T]:
    """Return the items in ascending order of their keys."""
    keys = [key(item) for item in items]
    rank = {each: number for number, each in enumerate(sorted(set(keys)))}
    # Ranks in the high bits, places in the low ones: one list of integers to move about, compared by rank.
    places = len(items)
    row = [rank[each] * places + place for place, each in enumerate(keys)]
    _Sorter(row, places).sort()
    return [items[value % places] for value in row]


class _Sorter:
    """Sorts `row` in place. Elements with the same value of `element // unit` are equal."""

    def __init__(self, row: list[int], unit: int) -> None:
        self._row = row
        self._unit = unit

    def sort(self) -> None:
        row = self._row
        size = len(row)
        self._introsort(0, size, 2 * (size.bit_length() - 1))
        self._insertion_sort(0, min(size, _THRESHOLD))
        for at in range(_THRESHOLD, size):
            self._insert(at)

    def _introsort(self, first: int, last: int, depth: int) -> None:
        while last - first > _THRESHOLD:
            if depth == 0:
                self._heap_sort(first, last)
                return
            depth -= 1
            cut = self._partition(first, last)
            self._introsort(cut, last, depth)
            last = cut

    def _heap_sort(self, first: int, last: int) -> None:
        """What keeps bad inputs from taking quadratic time: nixpkgs has such places."""
        heap = self._row[first:last]
        size = len(heap)
        for parent in range((size - 2) // 2, -1, -1):
            self._sift(heap, parent, size, heap[parent])
        for end in range(size - 1, 0, -1):
            value, heap[end] = heap[end], heap[0]
            self._sift(heap, 0, end, value)
        self._row[first:last] = heap

    def _sift(self, heap: list[int], hole: int, size: int, value: int) -> None:
        unit, top, child = self._unit, hole, hole
        while child < (size - 1) // 2:
            child = 2 * (child + 1)
            if heap[child] // unit < heap[child - 1] // unit:
                child -= 1
            heap[hole] = heap[child]
            hole = child
        if not size & 1 and child == (size - 2) // 2:
            child = 2 * (child + 1)
            heap[hole] = heap[child - 1]
            hole = child - 1
        parent = (hole - 1) // 2
        while hole > top and heap[parent] // unit < value // unit:
            heap[hole] = heap[parent]
            hole = parent
            parent = (hole - 1) // 2
        heap[hole] = value

    def _partition(self, first: int, last: int) -> int:
        row, unit = self._row, self._unit
        self._median_to(first, first + 1, first + (last - first) // 2, last - 1)
        pivot = row[first] // unit
        low, high = first + 1, last
        while True:
            while row[low] // unit < pivot:
                low += 1
            high -= 1
            while pivot < row[high] // unit:
                high -= 1
            if low >= high:
                return low
            row[low], row[high] = row[high], row[low]
            low += 1

    def _median_to(self, result: int, a: int, b: int, c: int) -> None:
        row, unit = self._row, self._unit
        one, two, three = row[a] // unit, row[b] // unit, row[c] // unit
        if one < two:
            chosen = b if two < three else c if one < three else a
        else:
            chosen = a if one < three else c if two < three else b
        row[result], row[chosen] = row[chosen], row[result]

    def _insertion_sort(self, first: int, last: int) -> None:
        row, unit = self._row, self._unit
        for at in range(first + 1, last):
            if row[at] // unit < row[first] // unit:
                row.insert(first, row.pop(at))
            else:
                self._insert(at)

    def _insert(self, at: int) -> None:
        row, unit = self._row, self._unit
        value = row[at]
        rank = value // unit
        while rank < row[at - 1] // unit:
            row[at] = row[at - 1]
            at -= 1
        row[at] = value
