"""The mount beside ext4 and squashfuse_ll: large files, parallel readers; what its process needs; when paths appear.

Needs root; 10 minutes, 4 GB of disk. Cold as in `bench_mount`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.mounted_trees import drop_caches, find, mounted_trees
from storefs.config import load_config
from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.stores.local import LocalStore

if TYPE_CHECKING:
    from bench.harness import Bench
    from bench.mounted_trees import Trees

READS = ("sequential", "random 4K")
PEERS = ("with passthrough, to ext4", "without passthrough, to squashfuse_ll")
PARALLEL = "two cold readers at once, to one after the other"
SERVER = ("look-up", "memory after a walk")
SERVER_LIMITS = {"kernel": (10, 20), "pyfuse3": (15, 150)}
PEERS_LOOK_UP = "look-up, squashfuse_ll"
# What the limits are to squashfuse_ll's 7 us on the machine on which they were set: another one is slower or faster.
LOOK_UP_RATIOS = {"kernel": 10 / 7, "pyfuse3": 15 / 7}
APPEARS = "from a commit to stat and ls by another process"

RANDOM_READS = """
import os, random, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
pages = os.fstat(fd).st_size // 4096
generator = random.Random(int(sys.argv[3]))
for _ in range(int(sys.argv[2])):
    os.pread(fd, 4096, 4096 * generator.randrange(pages))
"""
STAT_ALL = """
import os, sys
for name in sys.stdin.buffer.read().split(b"\\0"):
    os.lstat(name)
"""
# Looks for each path that it reads until it is there, and tells when stat(2) has shown it, and when the listing was
# begun that showed it: how long that takes depends on how many there are.
WATCH = """
import os, sys, time
for line in sys.stdin:
    folder, name = os.path.split(line.rstrip())
    print("looking", flush=True)
    while True:
        try:
            os.lstat(f"{folder}/{name}")
            break
        except FileNotFoundError:
            pass
    seen = time.monotonic_ns()
    while True:
        begun = time.monotonic_ns()
        if name in os.listdir(folder):
            break
    print(seen, begun, flush=True)
"""


def run(bench: Bench) -> None:
    if bench.wants(*(f"cold {read} {how}" for read in READS for how in PEERS)):
        with mounted_trees(bench, "large") as trees:
            measure_large(bench, trees)
    if bench.wants(PARALLEL):
        with mounted_trees(bench, "system", peer=False) as trees:
            measure_parallel(bench, trees)
    if bench.wants(*(f"{figure}, {transport}" for figure in SERVER for transport in SERVER_LIMITS)):
        with mounted_trees(bench, "tiny") as trees:
            measure_server(bench, trees)
    if bench.wants(*(f"{APPEARS}, {transport}" for transport in SERVER_LIMITS)):
        with mounted_trees(bench, peer=False) as trees:
            measure_appearing(bench, trees)


def measure_large(bench: Bench, trees: Trees) -> None:
    """One file of 1 GB. With passthrough the peer reads the blob itself.

    A copy of it elsewhere on the disk is read up to three times as fast or as slowly where the disk is a virtual one
    with a cache of its own: that would be measured, not the mount.
    """
    reads = "500" if bench.quick else "20000"
    ours = trees.ours("large") / "file"
    peers = (
        (trees.largest_blob(), drop_caches, ("--passthrough",)),
        (trees.peer("large") / "file", trees.cold_peer, ()),
    )
    works = (
        lambda file: ["sh", "-c", f"cat '{file}' | cat > /dev/null"],
        lambda file: ["python3", "-c", RANDOM_READS, str(file), reads, "3"],
    )
    for title, work in zip(READS, works, strict=True):
        for how, (file, before_peer, options) in zip(PEERS, peers, strict=True):
            bench.compare(
                f"cold {title} {how}",
                ours=work(ours),
                before_ours=trees.cold_ours(*options),
                peer=work(file),
                before_peer=before_peer,
                pairs=5,
                limit=1.2,
            )


def measure_parallel(bench: Bench, trees: Trees) -> None:
    """Two readers of different halves of a tree at once, against one after the other."""
    halves: list[list[str]] = [[], []]
    for index, folder in enumerate(sorted(trees.directory("system").glob("usr/*/*"))):
        halves[index % 2].append(f"'{trees.ours('system') / folder.relative_to(trees.directory('system'))}'")
    commands = [f"tar cf - {' '.join(half)} | cat > /dev/null" for half in halves]
    bench.compare(
        PARALLEL,
        ours=["sh", "-c", f"({commands[0]}) & ({commands[1]}) & wait"],
        before_ours=trees.cold_ours(),
        peer=["sh", "-c", f"{commands[0]}; {commands[1]}"],
        before_peer=trees.cold_ours(),
        pairs=3,
        limit=1.05,
        warm_up=False,
    )


def measure_server(bench: Bench, trees: Trees) -> None:
    """Processor time of a look-up, and memory after a walk, of both transports."""
    names = list_files(trees.plain / "tiny")[:30_000]  # directory by directory, as programs look them up
    peers_pid = trees.mount_peer()
    before_peer = processor_seconds(peers_pid)
    stat_all(trees.peer("tiny"), names)
    peer = 1e6 * (processor_seconds(peers_pid) - before_peer) / len(names)
    bench.record(PEERS_LOOK_UP, peer, "us of processor time")
    for transport, (lookup_limit, memory_limit) in SERVER_LIMITS.items():
        titles = [f"{figure}, {transport}" for figure in SERVER]
        if not bench.wants(*titles):
            continue
        trees.mount_ours("--transport", transport)
        before = trees.status()
        stat_all(trees.ours("tiny"), names)
        after = trees.status()
        lookups = count(after, "requests lookup") - count(before, "requests lookup")
        seconds = float(str(after["cpu seconds"])) - float(str(before["cpu seconds"]))
        cost = 1e6 * seconds / lookups
        bench.record(titles[0], cost, "us of processor time", limit=lookup_limit)
        bench.record(f"{titles[0]}, to squashfuse_ll", cost / peer, "x", limit=LOOK_UP_RATIOS[transport])
        subprocess.run(find(trees.ours("tiny")), stdout=subprocess.DEVNULL, check=True)
        memory = float(str(trees.status()["anonymous KiB"])) / 1024
        bench.record(titles[1], memory, "MiB anonymous", limit=memory_limit)


def stat_all(tree: Path, names: list[bytes]) -> None:
    paths = b"\0".join(os.fsencode(tree) + b"/" + name for name in names)
    subprocess.run(["python3", "-c", STAT_ALL], input=paths, check=True)


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process of somebody else's so far; see proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_appearing(bench: Bench, trees: Trees) -> None:
    """Milliseconds from the end of a registration until another process has seen the path; the median of many."""
    for transport in SERVER_LIMITS:
        title = f"{APPEARS}, {transport}"
        if not bench.wants(title):
            continue
        trees.mount_ours("--transport", transport)
        delays = []
        with (
            LocalStore(load_config(bench.environ)) as store,
            subprocess.Popen(
                ["python3", "-c", WATCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1, text=True
            ) as watcher,
        ):
            assert watcher.stdin is not None and watcher.stdout is not None
            for index in range(20 if bench.quick else 200):
                name = f"appears-{transport}-{time.time_ns()}-{index}"
                path = StorePath.from_digest(hash_bytes("sha1", name.encode()).digest, name)
                with store.intake() as intake:
                    tree = intake.add_tree(__file__)
                    watcher.stdin.write(f"{store.config.store_dir}/{path.base_name}\n")
                    watcher.stdout.readline()
                    intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size, []))])
                    committed = time.monotonic_ns()
                delays.append(max(int(seen) - committed for seen in watcher.stdout.readline().split()) / 1e6)
            watcher.stdin.close()
        bench.record(title, statistics.median(delays), "ms", limit=1)


def count(status: dict[str, object], name: str) -> int:
    counters = status["counters"]
    assert isinstance(counters, dict)
    return int(counters.get(name, 0))


def list_files(tree: Path) -> list[bytes]:
    found = []
    top = os.fsencode(tree)
    for folder, _, names in os.walk(top):
        found += [os.path.relpath(os.path.join(folder, name), top) for name in names]
    return found
