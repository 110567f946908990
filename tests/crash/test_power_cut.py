"""The power fails at any moment of an addition, a replacement or a collection; the disk keeps no more than it must."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from storefs.config import load_config
from storefs.errors import StoreError
from storefs.stores.local import LocalStore
from storefs.stores.verify import verify_store
from tests.crash.power import TRACED, Disk
from tests.crash.test_kill import prepare, restore, writer
from tests.store_invariants import check_invariants, check_nothing_is_left

pytestmark = pytest.mark.slow

# what must be valid, and what must not, once the program has said that it is done
EXPECTED = {
    "add": ({"tree"}, set()),
    "text": ({"text"}, set()),
    "import": ({"rubbish", "garbage"}, set()),
    "replace": ({"garbage"}, set()),
    "collect": (set(), {"rubbish", "garbage"}),
}


def check(environ: dict[str, str], workload: str, finished: bool) -> None:
    with LocalStore(load_config(environ), map_size=1 << 20) as store:
        check_invariants(store)
        names = {path.name for path in store.all_valid_paths()}
        assert {"precious", "library"} <= names
        if finished:
            present, absent = EXPECTED[workload]
            assert present <= names, "what was reported as registered is lost"
            assert not absent & names
        assert verify_store(store, check_contents=True).unfixed == []
        collector = store.collector()
        collector.collect()
        collector.close()
        check_invariants(store)
        check_nothing_is_left(store)


needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)"
)


def run_and_cut(environ: dict[str, str], scratch: Path, workload: str, *, deep: bool) -> None:
    """Run a workload, then look at what power cuts at many of its moments would have left."""
    saved = prepare(environ)
    top = Path(environ["NIX_STATE_DIR"]) / "verglas"
    disk = Disk(top)
    log = scratch / "strace.log"
    options = ["-f", "-qq", "-xx", "-s", "100000000", "-o", str(log), "-e", f"trace={TRACED}"]
    assert writer(environ, workload, "strace", *options).wait() == 0
    source = random.Random(workload)
    moments = 0
    for line in log.read_text().splitlines():
        if not disk.apply(line):
            continue
        moments += 1
        # every moment with --deep; otherwise some of them, and always the first after the work was reported as done
        if not deep and not disk.finished and source.random() < 0.8:
            continue
        for names, contents in disk.survivors(source, 3 if deep else 1):
            restore(environ, saved)
            shutil.rmtree(top)
            os.mkdir(top)
            disk.materialise(names, contents)
            check(environ, workload.removesuffix("-unsynced"), disk.finished)
        if disk.finished:
            break
    assert moments > 5
    assert disk.finished


@needs_strace
@pytest.mark.parametrize("workload", sorted(EXPECTED))
def test_power_fails_at_any_moment(
    environ: dict[str, str], scratch: Path, workload: str, request: pytest.FixtureRequest
) -> None:
    run_and_cut(environ, scratch, workload, deep=request.config.getoption("--deep"))


@needs_strace
def test_a_forgotten_sync_would_be_noticed(environ: dict[str, str], scratch: Path) -> None:
    """The same with a writer that does not sync its blobs: the model of the disk is worth something."""
    with pytest.raises((AssertionError, StoreError)):
        run_and_cut(environ, scratch, "add-unsynced", deep=True)
