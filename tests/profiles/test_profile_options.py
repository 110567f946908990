"""Where the profile is that a command means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from profiles.profile_options import default_profile

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_default_profile_is_linked_once(scratch: Path) -> None:
    user = "per-user/joe/profile" if os.geteuid() else "default"
    assert default_profile(str(scratch), "/state", lambda: "joe") == f"/state/profiles/{user}"
    assert os.readlink(scratch / ".nix-profile") == f"/state/profiles/{user}"
    (scratch / ".nix-profile").unlink()
    (scratch / ".nix-profile").symlink_to("mine/profile")
    assert default_profile(str(scratch), "/state", lambda: "joe") == f"{scratch}/mine/profile"


def test_default_profile_that_another_process_links_at_the_same_time(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_too_early(link: str) -> bool:
        os.symlink("mine/profile", link)
        return False

    monkeypatch.setattr(os.path, "lexists", look_too_early)
    assert default_profile(str(scratch), "/state", lambda: "joe") == f"{scratch}/mine/profile"
