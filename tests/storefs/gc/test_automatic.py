from __future__ import annotations

import os
from pathlib import Path

import pytest

from storefs.config import load_config
from storefs.gc.automatic import AutomaticCollection
from storefs.stores.local import LocalStore
from tests.storefs.gc.test_collector import add, names


@pytest.mark.parametrize(
    ("free", "left"),
    [
        ("1000000", {"p0", "p1", "p2", "p3", "new"}),  # enough is free: nothing happens
        ("100", {"new"}),  # little is free: as much as can be is collected
    ],
)
def test_an_addition_makes_room_first(
    environ: dict[str, str], scratch: Path, free: str, left: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    told = scratch / "free"
    told.write_text("1000000000")
    settings = "min-free = 50000\nmax-free = 10000000\nmin-free-check-interval = 0\n"
    config = load_config(environ | {"NIX_CONFIG": settings, "_NIX_TEST_FREE_SPACE_FILE": str(told)})
    with LocalStore(config, map_size=1 << 20, inline_limit=64) as store:
        for number in range(4):
            add(store, f"p{number}", os.urandom(20_000))
        told.write_text(free)
        add(store, "new")
        assert names(store.all_valid_paths()) == left
    assert ("running auto-GC to free 9999900 bytes" in capsys.readouterr().err) == (free == "100")


def test_the_real_disk_is_asked(local_store: LocalStore) -> None:
    found = AutomaticCollection(local_store.config, local_store.collector).available()
    status = os.statvfs(local_store.config.verglas_dir)
    assert 0 < found <= status.f_blocks * status.f_frsize
