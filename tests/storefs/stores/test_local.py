"""Opening local stores."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from storefs.stores.local import LocalStore

if TYPE_CHECKING:
    import pytest

    from storefs.config import Config


def test_a_new_store_that_another_process_makes_at_the_same_time(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_too_early(link: str) -> bool:
        os.symlink(f"{config.state_dir}/profiles", link)
        return False

    monkeypatch.setattr(os.path, "lexists", look_too_early)
    with LocalStore(config, map_size=1 << 20) as store:
        store.add_text("first", b"x")
    assert os.readlink(f"{config.state_dir}/gcroots/profiles") == f"{config.state_dir}/profiles"


def test_a_process_that_was_killed_while_it_made_a_store(config: Config) -> None:
    for name in ("gcroots/auto", "profiles", "verglas"):  # as a mount and it left them
        os.makedirs(f"{config.state_dir}/{name}")
    LocalStore(config, map_size=1 << 20).close()
    assert os.readlink(f"{config.state_dir}/gcroots/profiles") == f"{config.state_dir}/profiles"
