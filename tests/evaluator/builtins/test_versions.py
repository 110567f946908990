from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.builtins.versions import compare_versions, parse_drv_name, version_components
from evaluator.errors import NixTypeError
from tests.evaluator.evaluating import shown, value

# From the manual of nix-env and from asking real Nix 2.8. Ascending.
ASCENDING = [
    ("1.0", "2.3"),
    ("2.1", "2.3"),
    ("2.3", "2.3.1"),
    ("2.3pre1", "2.3"),
    ("2.3pre3", "2.3pre12"),
    ("2.3a", "2.3c"),
    ("2.3a", "2.3.1"),
    ("2.3pre1", "2.3c"),
    ("2.3pre1", "2.3q"),
    ("", "1"),
    ("pre", ""),
    ("9", "10"),
]


@pytest.mark.parametrize(("older", "newer"), ASCENDING)
def test_order(older: str, newer: str) -> None:
    assert compare_versions(older, newer) == -1
    assert compare_versions(newer, older) == 1


def test_different_spellings_of_one_version_are_equal() -> None:
    assert compare_versions("1.0-2", "1-0.2") == 0
    assert compare_versions("01", "1") == 0


@given(st.text("0123456789.-aprez", max_size=8), st.text("0123456789.-aprez", max_size=8))
def test_comparison_is_antisymmetric(one: str, two: str) -> None:
    assert compare_versions(one, two) == -compare_versions(two, one)


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("hello-2.10", "hello", "2.10"),
        ("apache-httpd-2.0.48", "apache-httpd", "2.0.48"),
        ("firefox", "firefox", ""),
        ("a-", "a-", ""),
        ("x--1", "x", "-1"),
        ("name-_1", "name", "_1"),
    ],
)
def test_names(text: str, name: str, version: str) -> None:
    assert parse_drv_name(text) == (name, version)


def test_components_alternate_between_digits_and_text() -> None:
    assert version_components("1.2pre3-rc4..") == ["1", "2", "pre", "3", "rc", "4"]


def test_builtins() -> None:
    assert shown('builtins.parseDrvName "nix-0.12pre12876"') == '{ name = "nix"; version = "0.12pre12876"; }'
    assert value('builtins.compareVersions "1.0" "1.1"') == -1
    assert value('builtins.splitVersion "1.2"') == ["1", "2"]
    with pytest.raises(NixTypeError):
        value("builtins.splitVersion 1")
