"""Where outputs are made, and what dead processes left there."""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING

from builder.scratch import Scratch

if TYPE_CHECKING:
    import pytest

    from storefs.config import Config


def test_two_processes_remove_what_a_third_one_left(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    builds = f"{config.verglas_dir}/builds"
    os.makedirs(f"{builds}/1-dead/1/root")
    lock = fcntl.flock

    def lock_too_late(descriptor: int, operation: int) -> None:
        shutil.rmtree(f"{builds}/1-dead", ignore_errors=True)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_too_late)
    scratch = Scratch(config)
    scratch.open()
    assert len(os.listdir(builds)) == 1
    scratch.close()
    assert os.listdir(builds) == []
