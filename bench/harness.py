"""Measures us against a peer, in interleaved pairs within one run, because this machine differs from minute to minute.

A benchmark file is `bench/bench_TOPIC.py` with one function:

    def run(bench: Bench) -> None:
        tree = make_tree(bench.scratch)
        bench.compare("hash a tree", ours=["nix-hash", tree], peer=["/usr/bin/nix-hash", tree], limit=2.0)

An action is a command line, or a function that does the work (and may return the seconds it measured itself). What is
reported is the median over the pairs of ours/peer: 0.5 means twice as fast as the peer. Absolute seconds are stored too
and are to be read with care. `limit` is the ratio that the project promises: above it the run fails.
"""

from __future__ import annotations

import json
import mmap
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from builder.removal import remove_tree
from storefs.placement import spread_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Action = Sequence[str | Path] | Callable[[], float | None]
    Clock = Literal["cpu", "wall"]

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
_TOUCHED = 4 << 30  # bytes: more than any one command here reads and writes


class Skipped(Exception):
    """A topic can't be measured here; its text says why."""


def need(program: str, package: str) -> str:
    """Return the path of a peer's program outside our own environment.

    Raises:
        Skipped: it is not installed; the text names the package that has it.
    """
    found = shutil.which(program, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        raise Skipped(f"'{program}' is not installed (apt-get install {package})")
    return found


def touch_memory() -> None:
    """Use much of the memory that is free, and free it again, before something that fills the page cache.

    A virtual machine gives back to its host what was free for some seconds, and who is given such a page afterwards
    waits longer for it (measured: 2.5 s for a gigabyte, 0.75 s for pages in use a moment ago).  How many of them a
    command meets is chance.
    """
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemFree:"))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, min(_TOUCHED, free // 4 * 3), flags=flags).close()


def read_tree(top: Path) -> None:
    """Read every file below ``top``, so that whoever is measured next finds them all in the page cache.

    Right before, each time: a virtual machine may have what was not read for seconds taken out of the page cache
    (DAMON's pageout), though memory is free. How much a command has to read again then is chance.
    """
    for folder, _, names in os.walk(top):
        for name in names:
            with open(f"{folder}/{name}", "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


class Bench:
    """One topic's run: a scratch directory, the environment of its commands, and the results so far.

    Attributes:
        quick: few pairs wanted; benchmarks may shrink their inputs.
        scratch: a directory, empty and removed at the end unless the user named it.
        keeps: whether it is one that the user named.
        environ: the environment of command lines; Nix's directories lie below `scratch`. May be changed.
    """

    def __init__(
        self,
        topic: str,
        *,
        quick: bool = False,
        only: Sequence[str] = (),
        pairs: int | None = None,
        folder: Path | None = None,
    ) -> None:
        """Take the user's wishes: `only` what has one of these texts in its name, `pairs` whatever is asked for here,
        and in `folder`, which stays for another run.
        """
        self.topic = topic
        self.quick = quick
        self._only = only
        self._pairs = 2 if quick and pairs is None else pairs
        self.keeps = folder is not None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self.scratch = folder or Path(tempfile.mkdtemp(prefix="vg-bench-"))
        self.within_limits = True
        self._rounds = 0
        self._results: dict[str, dict[str, object]] = {}
        self._baseline = self._load_baseline()
        self.environ = {
            "PATH": f"{BIN}:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": f"{self.scratch}/home",
            "LC_ALL": "C.UTF-8",
            "NIX_STORE_DIR": f"{self.scratch}/store",
            "NIX_STATE_DIR": f"{self.scratch}/state",
            "NIX_LOG_DIR": f"{self.scratch}/log",
            "NIX_CONF_DIR": f"{self.scratch}/etc",
            # Without mounts that nobody asked for: the directories of rounds are removed.
            "NIX_CONFIG": "substituters =\nbuild-users-group =\nauto-mount = false\n",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unmount()
        for each in [self.scratch / "rounds"] if self.keeps else [self.scratch]:
            remove_tree(str(each))

    def unmount(self) -> None:
        """Unmount what commands have mounted in the background; their processes end with that."""
        lines = Path("/proc/self/mounts").read_text().splitlines()
        for point in reversed([line.split()[1] for line in lines]):
            if Path(point).is_relative_to(self.scratch.resolve()):
                subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)

    def wants(self, *names: str) -> bool:
        """Whether any of these is to be measured: for what has to be done before, and takes long."""
        return not self._only or any(text in name for text in self._only for name in names)

    def made(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return the input called `name` below `scratch`; `make` makes it where no earlier run has."""
        path, finished = self.scratch / name, self.scratch / "made" / name.replace("/", "-")
        if not finished.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
            finished.parent.mkdir(exist_ok=True)
            finished.touch()
        return path

    def fresh(self) -> Path:
        """Return a new directory, for one round; all of them are removed at the end.

        Not before the next round: a file system may take its time over what it deletes, and over making files where
        others were deleted (storefs/placement.py), which would be measured then.
        """
        self._rounds += 1
        rounds = self.scratch / "rounds"
        rounds.mkdir(exist_ok=True)
        spread_folders(
            str(rounds)
        )  # as our store does for itself: also whoever is beside it begins in a place of his own
        path = rounds / f"{time.time_ns()}-{self._rounds}"
        path.mkdir()
        os.sync()  # what the last round left to be written would be written by whoever syncs next
        touch_memory()
        return path

    def seconds(self, words: Sequence[str | Path], changes: Mapping[str, str]) -> float:
        """Run one command line in `environ` with these changes and return its wall time."""
        return _measure(words, {**self.environ, **changes}, self.scratch, "wall")

    def compare(
        self,
        name: str,
        *,
        ours: Action,
        peer: Action,
        pairs: int = 7,
        clock: Clock = "wall",
        limit: float | None = None,
        before_ours: Callable[[], object] | None = None,
        before_peer: Callable[[], object] | None = None,
        peer_environ: Mapping[str, str] | None = None,
        warm_up: bool = True,
    ) -> None:
        """Run both actions in turn and note the median ratio ours/peer.

        Args:
            name: what is measured; the key in the stored results. Nothing happens if it is not wanted.
            pairs: how many interleaved pairs; 2 in a quick run.
            clock: "wall" seconds, or "cpu" seconds (user and system, of the command and its descendants).
            limit: the promised ratio.
            before_ours, before_peer: run before each action, outside the measurement.
            peer_environ: changes to `environ` for the peer's command line.
            warm_up: run each once before, unmeasured.
        """
        if not self.wants(name):
            return
        environ_of_peer = {**self.environ, **(peer_environ or {})}
        rounds = self._pairs or pairs
        ours_seconds, peer_seconds = [], []
        both = (
            (ours, self.environ, before_ours, ours_seconds),
            (peer, environ_of_peer, before_peer, peer_seconds),
        )
        for index in range(-1 if warm_up else 0, rounds):
            # Each goes first in every other pair: what one leaves to be written or dropped, the next one pays for.
            for action, environ, before, seconds in both if index % 2 == 0 else reversed(both):
                if before is not None:
                    before()
                taken = _measure(action, environ, self.scratch, clock)
                if index >= 0:
                    seconds.append(taken)
        ratios = sorted(a / max(b, 1e-9) for a, b in zip(ours_seconds, peer_seconds, strict=True))
        ratio = statistics.median(ratios)
        self._note(
            name,
            ratio,
            limit,
            f"{ratio:6.2f} x the peer  ({ratios[0]:.2f} to {ratios[-1]:.2f}; "
            f"{statistics.median(ours_seconds):.4f} s against {statistics.median(peer_seconds):.4f} s {clock})",
            clock=clock,
            pairs=rounds,
            ours_seconds=statistics.median(ours_seconds),
            peer_seconds=statistics.median(peer_seconds),
            lowest=ratios[0],
            highest=ratios[-1],
        )

    def record(self, name: str, value: float, unit: str, *, limit: float | None = None) -> None:
        """Note a figure that has no peer, such as bytes per path. `limit` is the highest value promised."""
        if not self.wants(name):
            return
        self._note(name, value, limit, f"{value:10.4g} {unit}", unit=unit)

    def _note(self, name: str, value: float, limit: float | None, text: str, **details: object) -> None:
        verdict = ""
        if limit is not None:
            verdict = f"  limit {limit:g}: {'kept' if value <= limit else 'EXCEEDED'}"
            self.within_limits &= value <= limit
        old = self._baseline.get(name)
        trend = f"  baseline {old:.3g}" if old is not None else ""
        print(f"  {name:<44} {text}{verdict}{trend}", flush=True)
        self._results[name] = {"value": round(value, 6), "limit": limit, **details}

    def _load_baseline(self) -> dict[str, float]:
        path = HERE / "baseline" / f"{self.topic}.json"
        if not path.exists():
            return {}
        return {name: result["value"] for name, result in json.loads(path.read_text())["results"].items()}

    def store(self, *, baseline: bool = False) -> Path:
        """Write the results to bench/results/TOPIC.json, or to bench/baseline/, and return the file's path."""
        path = HERE / ("baseline" if baseline else "results") / f"{self.topic}.json"
        path.parent.mkdir(exist_ok=True)
        results = self._results
        if self._only and path.exists():
            results = {**json.loads(path.read_text())["results"], **results}
        about = {
            "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}",
            "python": platform.python_version(),
            "quick": self.quick,
        }
        path.write_text(json.dumps({**about, "results": results}, indent=2) + "\n")
        return path


def _measure(action: Action, environ: Mapping[str, str], folder: Path, clock: Clock) -> float:
    """Return the seconds that one run took. A command that fails ends the benchmark with what it printed."""
    if callable(action):
        now = time.process_time if clock == "cpu" else time.perf_counter
        start = now()
        own = action()
        return now() - start if own is None else own
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        child = subprocess.Popen(
            [str(word) for word in action],
            env=dict(environ),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            executable=shutil.which(str(action[0]), path=environ["PATH"]),
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            output.seek(0)
            text = output.read().decode(errors="replace")
            raise RuntimeError(f"{' '.join(map(str, action))} ended with {child.returncode}:\n{text}")
    return usage.ru_utime + usage.ru_stime if clock == "cpu" else wall
