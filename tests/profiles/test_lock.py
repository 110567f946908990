"""The lock file: reads back what it writes, and says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiles.elements import Element
from profiles.lock import BadLockError, Lock, LockedChannel, LockedPackage, parse_lock, print_lock, read_lock
from profiles.profile_options import lock_path

NEW = LockedChannel("path", "/pkgs", "", "/nix/store/b-source", "sha256-B", "", 2)
OLD = LockedChannel("path", "/pkgs", "", "/nix/store/a-source", "sha256-A", "", 1)


def package(attr: str, source: LockedChannel) -> LockedPackage:
    meta = {"description": "é", "n": 1.5, "list": ["x", True]}
    element = Element(f"{attr}-1", "/nix/store/x", system="s", drv_path="/nix/store/d.drv", meta=meta, attr_path=attr)  # type: ignore[arg-type]
    return LockedPackage("mine", "", attr, "f" * 64, element, source)


def test_reads_back_what_it_prints() -> None:
    lock = Lock({"mine": NEW}, (package("a", NEW), package("b", OLD)))
    text = print_lock(lock)
    again = parse_lock(text, "l")
    assert print_lock(again) == text
    assert again.channels == {"mine": NEW}
    first, second = again.packages
    assert (first.source, second.source) == (NEW, OLD)
    assert second.element.as_value(True) == package("b", OLD).element.as_value(True)
    assert again.package(("mine", "", "b")) is second
    assert again.package(("mine", "", "c")) is None


def test_missing_lock_is_empty(scratch: Path) -> None:
    assert read_lock(str(scratch / "profile.yaml.lock")) == Lock()
    assert lock_path("/x/profile.yaml") == "/x/profile.yaml.lock"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "is no JSON"),
        (b"[]", "has version None"),
        (b'{"version": 9}', "has version 9, and this program knows version 1"),
        (b'{"version": 1}', "is incomplete"),
        (b'{"version": 1, "channels": {"a": {"x": 1}}, "packages": []}', "is incomplete"),
        (b'{"version": 1, "channels": {}, "packages": [{}]}', "is incomplete"),
    ],
)
def test_faults_name_the_file_and_the_way_out(text: bytes, reason: str) -> None:
    with pytest.raises(BadLockError, match=reason) as caught:
        parse_lock(text, "/x/profile.yaml.lock")
    assert str(caught.value).startswith("lock file '/x/profile.yaml.lock'")
    assert str(caught.value).endswith("remove it to resolve the profile anew")
