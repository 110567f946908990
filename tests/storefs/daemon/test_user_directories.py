"""The directories of a daemon's clients."""

from __future__ import annotations

import os
import pwd
import stat
from typing import TYPE_CHECKING

from storefs.daemon.user_directories import make_user_directories

if TYPE_CHECKING:
    import pytest

    from storefs.config import Config

USER = pwd.getpwuid(os.geteuid()).pw_name


def test_they_are_the_users_from_the_moment_they_are_there(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    owned = []

    def chown(path: str, uid: int, gid: int) -> None:
        owned.append((os.path.basename(path), uid))
        assert not os.path.exists(os.path.join(os.path.dirname(path), USER))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", chown)
    make_user_directories(config, USER)
    assert [uid for _, uid in owned] == [pwd.getpwnam(USER).pw_uid] * 2
    for kind in ("profiles", "gcroots"):
        assert os.listdir(f"{config.state_dir}/{kind}/per-user") == [USER]
        assert stat.S_IMODE(os.stat(f"{config.state_dir}/{kind}/per-user/{USER}").st_mode) == 0o755


def test_what_another_connection_made_meanwhile_is_left_alone(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def rename_too_late(source: str, target: str) -> None:
        os.mkdir(target)
        os.symlink("/nix/store/x", f"{target}/profile-1-link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_too_late)
    make_user_directories(config, USER)
    for kind in ("profiles", "gcroots"):
        assert os.listdir(f"{config.state_dir}/{kind}/per-user") == [USER]
        assert os.listdir(f"{config.state_dir}/{kind}/per-user/{USER}") == ["profile-1-link"]
