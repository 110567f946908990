"""Other machines: how they are written down, which fits, which is chosen."""

from __future__ import annotations

import pytest

from builder.machines import BadMachineError, Machine, best_of, parse_machines


def machine(**changes: object) -> Machine:
    values: dict[str, object] = {
        "uri": "ssh://m",
        "systems": ("x86_64-linux",),
        "key": "",
        "jobs": 1,
        "speed": 1.0,
        "features": frozenset(),
        "mandatory": frozenset(),
    }
    return Machine(**(values | changes))  # type: ignore[arg-type]


def test_columns_have_defaults() -> None:
    text = "ssh://one - - 4 0.5 kvm,big benchmark -; nix@two i686-linux,x86_64-linux /key # a comment\n\n/some/root"
    one, two, three = parse_machines(text, "x86_64-linux", lambda path: "")
    assert one == machine(
        uri="ssh://one", jobs=4, speed=0.5, features=frozenset({"kvm", "big"}), mandatory=frozenset({"benchmark"})
    )
    assert two == machine(uri="ssh://nix@two", systems=("i686-linux", "x86_64-linux"), key="/key")
    assert three.uri == "/some/root"


def test_lines_may_be_in_a_file() -> None:
    files = {"/etc/machines": "ssh://one\n@/etc/more\n", "/etc/more": "ssh://two"}
    found = parse_machines("@/etc/machines", "x86_64-linux", lambda path: files[path])
    assert [each.uri for each in found] == ["ssh://one", "ssh://two"]


@pytest.mark.parametrize("line", ["- x86_64-linux", "ssh://m - - many", "ssh://m - - 1 0", "ssh://m - - 1 fast"])
def test_nonsense_is_refused(line: str) -> None:
    with pytest.raises(BadMachineError, match="bad machine specification"):
        parse_machines(line, "x86_64-linux", lambda path: "")


@pytest.mark.parametrize(
    ("features", "mandatory", "required", "fits"),
    [
        ("", "", "", True),
        ("kvm", "", "kvm", True),
        ("kvm", "", "", True),
        ("", "", "kvm", False),
        ("", "kvm", "kvm", True),
        ("", "kvm", "", False),
        ("kvm", "big", "kvm", False),
    ],
)
def test_all_required_features_are_there_and_all_mandatory_ones_required(
    features: str, mandatory: str, required: str, fits: bool
) -> None:
    candidate = machine(features=frozenset(features.split()), mandatory=frozenset(mandatory.split()))
    assert candidate.fits("x86_64-linux", required.split()) is fits
    assert not candidate.fits("aarch64-linux", required.split())


@pytest.mark.parametrize(
    ("loads", "chosen"),
    [
        ([("slow", 1.0, 0), ("fast", 2.0, 0)], "fast"),
        ([("slow", 1.0, 0), ("fast", 2.0, 1)], "slow"),
        ([("slow", 1.0, 1), ("fast", 2.0, 1)], "fast"),
        ([("half", 0.5, 1), ("one", 1.0, 2)], "one"),
        ([("first", 1.0, 0), ("second", 1.0, 0)], "first"),
    ],
)
def test_the_least_load_for_its_speed_wins(loads: list[tuple[str, float, int]], chosen: str) -> None:
    best = best_of([(machine(uri=name, speed=speed), load) for name, speed, load in loads])
    assert best is not None
    assert best.uri == chosen


def test_no_machine_is_none() -> None:
    assert best_of([]) is None
