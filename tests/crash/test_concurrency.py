"""Eight processes work on one store at once: adding, asking, rooting, collecting, verifying; nobody sees an error."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storefs.config import load_config
from storefs.stores.local import LocalStore
from storefs.stores.verify import verify_store
from tests.store_invariants import check_invariants, check_nothing_is_left

HERE = Path(__file__).parent
JOBS = ("add", "add", "add", "same", "query", "collect", "collect", "verify")


def run_together(environ: dict[str, str], seconds: float, jobs: tuple[str, ...] = JOBS) -> list[str]:
    """Run the jobs in processes of their own; returns what each of them did, and fails where one complained."""
    path = f"{HERE.parents[1]}:{':'.join(part for part in sys.path if 'site-packages' in part)}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-S", str(HERE / "worker.py"), job, str(number), str(seconds)],
            env=environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, job in enumerate(jobs)
    ]
    # all are waited for before the first complaint, so that none is left behind
    ends = [process.communicate(timeout=seconds + 120) for process in processes]
    told = []
    for job, process, (out, err) in zip(jobs, processes, ends, strict=True):
        assert process.returncode == 0, f"{job}: {err}"
        assert "error" not in err, f"{job}: {err}"
        assert "warning" not in err, f"{job}: {err}"
        told.append(f"{job}: {out.strip()}")
    return told


@pytest.mark.slow
def test_a_few_seconds_of_everything(environ: dict[str, str], request: pytest.FixtureRequest) -> None:
    told = run_together(environ, 60 if request.config.getoption("--deep") else 3)
    assert all(int(line.split()[1]) > 0 for line in told), told
    with LocalStore(load_config(environ), map_size=1 << 20) as store:
        check_invariants(store)
        assert verify_store(store, check_contents=True).unfixed == []
        collector = store.collector()
        collector.collect()
        collector.close()
        check_invariants(store)
        check_nothing_is_left(store)
        assert list(store.all_valid_paths()) == []


@pytest.mark.slow
def test_the_same_contents_are_added_while_they_are_collected(environ: dict[str, str]) -> None:
    run_together(environ, 3, ("same", "same", "same", "collect", "collect"))
    with LocalStore(load_config(environ), map_size=1 << 20) as store:
        check_invariants(store)


ADDER = """
number=0
while [ $((number += 1)) -le $2 ]; do
    echo "$1 $number" >"$3/file-$1"
    nix-store --add "$3/file-$1" >/dev/null || exit 1
done
"""
COLLECTOR = """
while [ ! -e "$1/finished" ]; do nix-store --gc >/dev/null || exit 1; done
"""


@pytest.mark.slow
def test_commands_add_while_others_are_killed_and_a_third_collects(
    environ: dict[str, str], scratch: Path, request: pytest.FixtureRequest
) -> None:
    """Row S1: nobody hears of a busy database, of a map that grew or of readers that died."""
    adders, files, kills = (32, 200, 1000) if request.config.getoption("--deep") else (6, 5, 20)

    def start(*words: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            list(map(str, words)), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    working = [start("sh", "-c", ADDER, "adder", str(number), str(files), scratch) for number in range(adders)]
    collecting = start("sh", "-c", COLLECTOR, "collector", scratch)
    source = random.Random(1)
    (scratch / "victim").write_bytes(os.urandom(100_000))
    for _ in range(kills):
        victim = start("nix-store", "--add", scratch / "victim")
        try:
            victim.wait(timeout=source.uniform(0, 0.1))
        except subprocess.TimeoutExpired:
            victim.send_signal(signal.SIGKILL)
        victim.communicate()
    told = [process.communicate()[1] for process in working]
    (scratch / "finished").touch()
    told.append(collecting.communicate()[1])
    assert [process.returncode for process in (*working, collecting)] == [0] * (adders + 1), told
    assert not [text for text in told if "error" in text or "warning" in text]
    with LocalStore(load_config(environ)) as store:
        check_invariants(store)
        assert verify_store(store, check_contents=True).unfixed == []
