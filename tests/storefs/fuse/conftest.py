"""A store that can be mounted, and a lazy mount with one cache, over each transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.storefs.fuse.lazy_mount import Lazy
from tests.storefs.fuse.mounted_store import MountedStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(scratch: Path) -> Iterator[MountedStore]:
    store = MountedStore(scratch)
    yield store
    store.verglas("umount", "--lazy")
    store.garden.close()


@pytest.fixture(params=["kernel", "pyfuse3"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lazy(scratch: Path, transport: str) -> Iterator[Lazy]:
    lazy = Lazy(scratch, "--transport", transport)
    lazy.store.mount()
    try:
        yield lazy
    finally:
        print(lazy.store.log)  # pytest shows it when the test fails
        lazy.close()
