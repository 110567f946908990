"""A writer is killed at every call that changes something, and at random moments; the store survives each time."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from storefs.config import load_config
from storefs.stores.local import LocalStore
from storefs.stores.verify import verify_store
from tests.store_invariants import check_invariants, check_nothing_is_left

HERE = Path(__file__).parent
# What changes files: LMDB's commits are pwrite64, pwritev and fdatasync; the rest is ours.
CALLS = ("write", "pwrite64", "pwritev", "fsync", "fdatasync", "syncfs", "mkdir", "symlink",
         "link", "linkat", "rename", "renameat", "unlink", "unlinkat")  # fmt: skip
WORKLOADS = ("add", "add, not waiting", "ahead", "ahead together", "import", "text", "replace", "collect", "delete")

pytestmark = pytest.mark.slow


def writer(environ: dict[str, str], workload: str, *before: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*before, sys.executable, "-S", str(HERE / "writer.py"), workload],
        env=environ | {"PYTHONPATH": f"{HERE.parents[1]}:{':'.join(p for p in sys.path if 'site-packages' in p)}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def prepare(environ: dict[str, str]) -> Path:
    """A store with something in it, saved beside, so that every attempt starts from the same state."""
    done = writer(environ, "prepare")
    assert done.wait() == 0
    state = Path(environ["NIX_STATE_DIR"])
    saved = state.with_name("saved")
    shutil.copytree(state, saved, symlinks=True)
    return saved


def restore(environ: dict[str, str], saved: Path) -> None:
    state = Path(environ["NIX_STATE_DIR"])
    shutil.rmtree(state)
    shutil.copytree(saved, state, symlinks=True)


def check_survivor(environ: dict[str, str]) -> None:
    with LocalStore(load_config(environ), map_size=1 << 20) as store:
        check_invariants(store)
        assert "precious" in {path.name for path in store.all_valid_paths()}, "something registered was lost"
        assert verify_store(store, check_contents=True).unfixed == []
        collector = store.collector()
        collector.collect()
        collector.close()
        check_invariants(store)
        check_nothing_is_left(store)
        assert "precious" in {path.name for path in store.all_valid_paths()}


def count_calls(environ: dict[str, str], workload: str, scratch: Path) -> dict[str, int]:
    """How often each call happens in an undisturbed run, in the thread that makes it most: strace counts in each."""
    log = scratch / "strace.log"
    tracer = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    assert writer(environ, workload, *tracer).wait() == 0
    found: Counter[tuple[str, str]] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        thread, _, call = line.partition(" ")
        found[thread, call.strip().partition("(")[0]] += 1
    return {name: max((count for (_, each), count in found.items() if each == name), default=0) for name in CALLS}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
@pytest.mark.parametrize("workload", WORKLOADS)
def test_killed_at_every_system_call(
    environ: dict[str, str], scratch: Path, workload: str, request: pytest.FixtureRequest
) -> None:
    """strace's fault injection delivers SIGKILL at the entry of the n-th call (strace(1), "inject")."""
    saved = prepare(environ)
    counts = count_calls(environ, workload, scratch)
    assert sum(counts.values()) > 3
    deep = request.config.getoption("--deep")
    attempts = killed = 0
    for name, count in counts.items():
        # every call with --deep; otherwise the first ones, the last ones and some between
        numbers = set(range(1, count + 1))
        if not deep and count > 6:
            numbers = {1, 2, count // 3, count // 2, count - 1, count}
        for number in sorted(numbers):
            restore(environ, saved)
            inject = f"inject={name}:signal=SIGKILL:when={number}"
            process = writer(
                environ, workload, "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={name}", "-e", inject
            )
            # strace ends as its child did
            killed += process.wait() == -signal.SIGKILL
            attempts += 1
            check_survivor(environ)
    assert killed >= attempts * 0.9, "the injection does not work here"


@pytest.mark.parametrize("workload", WORKLOADS)
def test_killed_at_random_moments(environ: dict[str, str], workload: str, request: pytest.FixtureRequest) -> None:
    saved = prepare(environ)
    source = random.Random(workload)
    for _ in range(50 if request.config.getoption("--deep") else 4):
        restore(environ, saved)
        process = writer(environ, workload)
        try:
            process.wait(timeout=source.uniform(0.05, 0.4))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        check_survivor(environ)
