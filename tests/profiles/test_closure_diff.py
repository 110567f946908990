"""Differences between closures, in nvd's shape and as data."""

from __future__ import annotations

from profiles.closure_diff import diff_as_json, diff_closures, human_size, render_diff

H = "0" * 32


def closure(**sizes: int) -> dict[str, int]:
    return {f"{H}-{name.replace('_', '-')}": size for name, size in sizes.items()}


BEFORE = {f"{H}-hello-1.0": 100, f"{H}-zlib-1.2": 5, f"{H}-x": 4, f"{H}-gcc-9": 1, f"{H}-a-2": 1}
AFTER = {f"{H}-hello-1.1": 5000, f"{H}-hello-1.1-man": 1, f"{H}-git-2": 1, f"{H}-x": 4, f"{H}-gcc-8": 1, f"{H}-a-2": 1}


def test_lines_have_nvds_shape() -> None:
    assert render_diff(diff_closures(BEFORE, AFTER, ["hello", "a"], ["hello", "git"])) == (
        "Version changes:\n"
        "[U*]  #1  hello  1.0 -> 1.1, 1.1-man\n"
        "[D.]  #2  gcc    9 -> 8\n"
        "[C-]  #3  a      2 -> 2\n"
        "Added packages:\n"
        "[A+]  #1  git    2\n"
        "Removed packages:\n"
        "[R.]  #1  zlib   1.2\n"
        "Closure size: 5 -> 6 (4 paths added, 3 paths removed, delta +1, disk usage +4.8 KiB).\n"
    )


def test_nothing_differs() -> None:
    text = render_diff(diff_closures(BEFORE, BEFORE, ["a"], ["a"]))
    assert text.startswith("No version or selection state changes.\n")


def test_rebuilt_packages_of_the_same_version_are_not_shown() -> None:
    other = {("1" * 32) + name[32:]: size for name, size in BEFORE.items()}
    assert diff_closures(BEFORE, other).changes == []


def test_as_data() -> None:
    data = diff_as_json(diff_closures({}, {f"{H}-hello-1.0": 7}, [], ["hello"]))
    assert data["changes"] == [
        {"name": "hello", "status": "added", "before": [], "after": ["1.0"], "selection": "added", "sizeDelta": 7}
    ]
    assert (data["sizeBefore"], data["sizeAfter"], data["pathsAdded"]) == (0, 7, 1)


def test_numbers_are_aligned() -> None:
    many = {f"{H}-p{index}-1": 1 for index in range(12)}
    lines = render_diff(diff_closures({}, many)).splitlines()
    assert lines[1] == "[A.]  #01  p0   1"
    assert lines[12].startswith("[A.]  #12  ")


def test_sizes() -> None:
    assert human_size(0) == "0 bytes"
    assert human_size(-2048, signed=True) == "-2.0 KiB"
    assert human_size(3 * 2**40) == "3.0 TiB"
