"""Binary caches: asking about a large closure, and fetching one, beside real Nix 2.8.

What was fetched is on the disk when we say that it is there; Nix waits for nothing. So there are three ratios: as both
are, both durable (the peer is followed by a sync), and neither waiting (ours with `fsync-store-paths = false`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import need

if TYPE_CHECKING:
    from bench.harness import Bench

PATHS, DEPTH = 1056, 9
DRY_RUN = f"dry run of {PATHS} paths, depth {DEPTH}, 0.1 s away"
WARM = "the same, warm"
SUBSTITUTE = "substitute 500 paths, 1 GB"
SYNCED = f"{SUBSTITUTE}, beside a peer that syncs"
UNWAITED = f"{SUBSTITUTE}, neither waits for the disk"
LAZY = "first output of a program, lazily mounted"


class Cache:
    """The process of cache_fixture.py."""

    def __init__(self, bench: Bench, delay: float, paths: int, depth: int, size: int) -> None:
        words = [sys.executable, "-m", "bench.cache_fixture", bench.environ["NIX_STORE_DIR"]]
        self.process = subprocess.Popen(
            [*words, str(delay), str(paths), str(depth), str(size)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        about = self._line()
        self.url, self.top = str(about["url"]), str(about["top"])

    def _line(self) -> dict[str, object]:
        assert self.process.stdout is not None
        line: dict[str, object] = json.loads(self.process.stdout.readline())
        return line

    def counters(self) -> dict[str, object]:
        """What it was asked since the last call."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._line()

    def close(self) -> None:
        self.process.communicate()


def run(bench: Bench) -> None:
    nix_store = need("nix-store", "nix-bin")
    peer = {
        "NIX_STATE_DIR": f"{bench.scratch}/real-state",
        "NIX_REMOTE": (
            f"local?store={bench.environ['NIX_STORE_DIR']}&real={bench.scratch}/real-store"
            f"&state={bench.scratch}/real-state&log={bench.scratch}/real-log"
        ),
        "XDG_CACHE_HOME": f"{bench.scratch}/real-cache",
    }
    if bench.wants(DRY_RUN, WARM):
        _dry_run(bench, nix_store, peer)
    if bench.wants(SUBSTITUTE, SYNCED, UNWAITED):
        _substitute(bench, nix_store, peer)
    if bench.wants(LAZY) and os.geteuid() == 0 and os.path.exists("/dev/fuse"):
        _first_output(bench)


def _dry_run(bench: Bench, nix_store: str, peer: dict[str, str]) -> None:
    cache = Cache(bench, 0.1, PATHS, DEPTH, 40)
    try:
        _use(bench, cache.url)
        ours = ["nix-store", "-r", "--dry-run", cache.top]
        theirs = [nix_store, "-r", "--dry-run", cache.top]
        cold: list[float] = []
        counters: list[dict[str, object]] = []

        def ours_cold() -> float:
            _forget(bench, "home/.cache")
            cache.counters()
            seconds = _seconds(bench, ours)
            cold.append(seconds)
            counters.append(cache.counters())
            return seconds

        bench.compare(
            DRY_RUN,
            ours=ours_cold,
            peer=theirs,
            before_peer=lambda: _forget(bench, "real-cache"),
            peer_environ=peer,
            pairs=3,
            warm_up=False,
        )
        if cold:
            bench.record(f"{DRY_RUN}, the slowest", max(cold), "s", limit=1.5)
            narinfos = max(int(str(each["narinfos"])) for each in counters)
            bench.record(f"{DRY_RUN}, requests for narinfos", narinfos, "", limit=PATHS)
            at_once = max(int(str(each["at_once"])) for each in counters)
            bench.record(f"{DRY_RUN}, most at once", at_once, "", limit=150)
        _seconds(bench, ours)
        cache.counters()
        warm = [_seconds(bench, ours) for _ in range(2 if bench.quick else 7)]
        bench.record(WARM, sorted(warm)[len(warm) // 2], "s", limit=0.1)
        bench.record(f"{WARM}, requests", int(str(cache.counters()["narinfos"])), "", limit=0)
    finally:
        cache.close()
    _forget(bench, "home/.cache", "real-cache")


def _substitute(bench: Bench, nix_store: str, peer: dict[str, str]) -> None:
    paths, size = (40, 1 << 18) if bench.quick else (500, 2 << 20)
    cache = Cache(bench, 0.0, paths, 8, size)

    def fresh() -> None:
        # What the other one left to be written would be written by whoever syncs next.
        _forget(bench, "state", "home/.cache", "real-state", "real-store", "real-cache")
        os.sync()

    def mounted() -> None:
        # The first command on a store mounts it, once; this is about fetching.
        bench.unmount()
        fresh()
        subprocess.run(["verglas", "mount", "--background"], env=bench.environ, capture_output=True, check=True)

    def real_then_synced() -> float:
        begun = time.perf_counter()
        _seconds(bench, theirs, peer)
        subprocess.run(["sync", "--file-system", bench.scratch], check=True)
        return time.perf_counter() - begun

    try:
        _use(bench, cache.url)
        ours, theirs = (["nix-store", "-r", cache.top], [nix_store, "-r", cache.top])
        compare = partial(bench.compare, before_ours=mounted, before_peer=fresh, pairs=3, limit=0.7, warm_up=False)
        compare(SUBSTITUTE, ours=ours, peer=theirs, peer_environ=peer)
        compare(SYNCED, ours=ours, peer=real_then_synced)
        unwaited = {"NIX_CONFIG": bench.environ["NIX_CONFIG"] + "fsync-store-paths = false\n"}
        compare(UNWAITED, ours=lambda: _seconds(bench, ours, unwaited), peer=theirs, peer_environ=peer)
    finally:
        cache.close()
    bench.unmount()
    fresh()


def _first_output(bench: Bench) -> None:
    cache = Cache(bench, 0.02, 120, 5, 1 << 20)
    try:
        _use(bench, cache.url)
        hello = f"{cache.top}/bin/hello"

        def forget_store() -> None:
            subprocess.run(["verglas", "umount", "--lazy"], env=bench.environ, capture_output=True, check=False)
            # A directory of its own: the process of the last mount may still be putting things away.
            bench.environ["NIX_STATE_DIR"] = f"{bench.scratch}/state{time.monotonic_ns()}"
            _forget(bench, "home/.cache")

        def fetched() -> None:
            _seconds(bench, ["nix-store", "-r", cache.top])
            _seconds(bench, ["verglas", "mount", "--background"])
            _seconds(bench, [hello])

        def lazily() -> None:
            _seconds(bench, ["verglas", "mount", "--background", "--lazy"])
            _seconds(bench, [hello])

        bench.compare(
            LAZY,
            ours=lazily,
            peer=fetched,
            before_ours=forget_store,
            before_peer=forget_store,
            pairs=3,
            limit=0.3,
            warm_up=False,
        )
        forget_store()
    finally:
        cache.close()


def _use(bench: Bench, url: str) -> None:
    bench.environ["NIX_CONFIG"] = (
        f"substituters = {url}\nrequire-sigs = false\nbuild-users-group =\nsubstitute = true\n"
        "http-connections = 150\nsandbox = false\nauto-mount = false\n"
    )


def _forget(bench: Bench, *names: str) -> None:
    for name in names:
        path = bench.scratch / name
        if path.exists():
            subprocess.run(["chmod", "-R", "u+w", path], check=True)
            shutil.rmtree(path)


def _seconds(bench: Bench, words: list[str], changes: dict[str, str] | None = None) -> float:
    begun = time.perf_counter()
    environ = {**bench.environ, **(changes or {})}
    done = subprocess.run(words, env=environ, cwd=bench.scratch, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return time.perf_counter() - begun
