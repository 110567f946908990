"""Stores for the tests of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from storefs.stores.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.config import Config


@pytest.fixture
def local_store(config: Config) -> Iterator[LocalStore]:
    """An empty local store with small limits, so that small data crosses every border."""
    with LocalStore(config, map_size=1 << 20, inline_limit=64) as store:
        yield store
