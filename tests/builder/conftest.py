"""Fixtures for builds; the settings make them independent of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder.sandbox.compose import SHELLS
from storefs.config import load_config
from tests.builder.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bench(environ: dict[str, str]) -> Iterator[Workbench]:
    """A store with a builder; sandboxed builds have a static busybox as /bin/sh."""
    environ["NIX_CONFIG"] += f"sandbox-paths = /bin/sh={SHELLS[0]} /bin/busybox={SHELLS[0]}\nsystem = x86_64-linux\n"
    environ["TMPDIR"] = environ["HOME"]
    with Workbench(load_config(environ)) as made:
        yield made
