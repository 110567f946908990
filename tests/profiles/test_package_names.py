"""Names and selectors, as nix-env reads them."""

from __future__ import annotations

import pytest

from profiles.package_names import BadSelectorError, PackageName, Selector, selectors, split_name


@pytest.mark.parametrize(
    ("full", "name", "version"),
    [
        ("hello-2.10", "hello", "2.10"),
        ("apache-httpd-2.0.48", "apache-httpd", "2.0.48"),
        ("hello", "hello", ""),
        ("hello-", "hello-", ""),
        ("foo--1", "foo", "-1"),
        ("gcc-wrapper-4.9_x", "gcc-wrapper", "4.9_x"),
        ("x-é", "x", "é"),
    ],
)
def test_splits_at_the_first_dash_that_no_letter_follows(full: str, name: str, version: str) -> None:
    assert split_name(full) == (name, version)


@pytest.mark.parametrize(
    ("selector", "package", "matches"),
    [
        ("hello", "hello-1.0", True),
        ("hello", "hello-world-1.0", False),
        ("hello-1.0", "hello-1.0", True),
        ("hello-1.1", "hello-1.0", False),
        ("*", "anything-1", True),
        (".*", "anything-1", True),
        ("he.*o", "hello-1.0", True),
        ("(a|b)c", "bc-1", True),
        ("ell", "hello-1", False),
        ("gtk[+]", "gtk+-2", True),
    ],
)
def test_selector_is_a_regular_expression_over_the_whole_name(selector: str, package: str, matches: bool) -> None:
    assert Selector(selector).matches(PackageName(package)) is matches


def test_selector_that_is_no_expression_is_named() -> None:
    with pytest.raises(BadSelectorError, match=r"selector '\(a' is not a regular expression"):
        selectors(["hello", "(a"])
