"""A store for fuzzing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from storefs.stores.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.config import Config


@pytest.fixture
def local_fuzz_store(config: Config) -> Iterator[LocalStore]:
    """A local store with small limits."""
    with LocalStore(config.with_settings([("fsync-metadata", "false")]), map_size=1 << 20, inline_limit=64) as store:
        yield store
