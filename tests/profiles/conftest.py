"""Fixtures of the tests of profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.profiles.both import Both

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix


@pytest.fixture
def both(run: Runner, real_nix: RealNix, scratch: Path) -> Both:
    return Both(run, real_nix, scratch)
