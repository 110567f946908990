"""The power fails at any moment of an addition, a replacement or a collection; the disk keeps no more than it must."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.config import load_config
from storefs.errors import StoreError
from storefs.gc.roots import find_roots
from storefs.stores.local import LocalStore
from storefs.stores.verify import verify_store
from tests.crash.power import TRACED, Disk
from tests.crash.test_kill import prepare, restore, writer
from tests.crash.writer import path_named
from tests.store_invariants import check_invariants, check_nothing_is_left

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

# what must be valid, and what must not, once the program has said that it is done
EXPECTED = {
    "add": ({"tree"}, set()),
    "ahead": ({"tree"}, set()),
    "ahead together": ({"tree"}, set()),
    "text": ({"text"}, set()),
    "import": ({"rubbish", "garbage"}, set()),
    "replace": ({"garbage"}, set()),
    "collect": (set(), {"rubbish", "garbage"}),
    "root": (set(), set()),
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


def run_and_cut(
    environ: dict[str, str],
    scratch: Path,
    workload: str,
    look: Callable[[bool], None],
    *,
    deep: bool,
    folder: str = "verglas",
    fresh: bool = False,
) -> None:
    """Run a workload, then look at what power cuts at many of its moments would have left.

    Args:
        environ: the store's.
        scratch: for notes.
        workload: what tests/crash/writer.py does.
        look: asserts that a store which was cut is whole, and, if its argument is true, has what was reported as done.
        deep: try every moment.
        folder: what the disk holds, below the state directory.
        fresh: begin with nothing.
    """
    state = Path(environ["NIX_STATE_DIR"])
    if fresh:
        saved = state.with_name("saved")
        saved.mkdir()
        state.mkdir(exist_ok=True)
        restore(environ, saved)
    else:
        saved = prepare(environ)
    top = state / folder
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
            look(disk.finished)
        if disk.finished:
            break
    assert moments > 5
    assert disk.finished


@needs_strace
@pytest.mark.parametrize("workload", sorted(EXPECTED.keys() - {"root"}))
def test_power_fails_at_any_moment(
    environ: dict[str, str], scratch: Path, workload: str, request: pytest.FixtureRequest
) -> None:
    def look(finished: bool) -> None:
        check(environ, workload, finished)

    run_and_cut(environ, scratch, workload, look, deep=request.config.getoption("--deep"))


@needs_strace
def test_a_root_is_as_durable_as_the_folders_that_were_made_for_it(
    environ: dict[str, str], scratch: Path, request: pytest.FixtureRequest
) -> None:
    """Made in a folder that was not there, and registered in another one."""
    state = Path(environ["NIX_STATE_DIR"])

    def look(finished: bool) -> None:
        check(environ, "root", finished)
        with LocalStore(load_config(environ), map_size=1 << 20) as store:
            roots = dict(find_roots(str(state), store.directory))
        if finished:
            assert roots[path_named("library")] == str(state / "new/folders/link")

    run_and_cut(environ, scratch, "root", look, deep=request.config.getoption("--deep"), folder="")


@needs_strace
def test_a_new_store_is_there_with_its_first_path(
    environ: dict[str, str], scratch: Path, request: pytest.FixtureRequest
) -> None:
    """The first addition makes every folder and the database, and whoever is told of the path relies on all of them."""

    def look(finished: bool) -> None:
        with LocalStore(load_config(environ), map_size=1 << 20) as store:
            names = {path.name for path in store.all_valid_paths()}
            assert names == {"first"} if finished else names <= {"first"}
            assert verify_store(store, check_contents=True).unfixed == []

    run_and_cut(environ, scratch, "first", look, deep=request.config.getoption("--deep"), folder="", fresh=True)


@needs_strace
@pytest.mark.parametrize("workload", ["add-unsynced", "ahead-unsynced"])
def test_a_forgotten_sync_would_be_noticed(environ: dict[str, str], scratch: Path, workload: str) -> None:
    """The same with a writer that does not sync its blobs: the model of the disk is worth something."""

    def look(finished: bool) -> None:
        check(environ, "add", finished)

    with pytest.raises((AssertionError, StoreError)):
        run_and_cut(environ, scratch, workload, look, deep=True)
