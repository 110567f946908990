"""The mount beside ext4 and squashfuse_ll: walking and reading trees. Needs root, 20 minutes, 6 GB of disk.

Cold means that every cache is dropped and both servers are started afresh, since what they map stays in memory
otherwise. Trees: files of this system (`system`), many tiny files (`tiny`).
"""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

from bench.mounted_trees import drop_caches, find, mounted_trees

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.harness import Bench
    from bench.mounted_trees import Trees


# What a tree consists of, for work on one part after the other.
PARTS = {"system": "usr/*/*", "tiny": "*"}
PARTS_AT_ONCE = 5


def tar(*trees: Path) -> list[str]:
    # Through a pipe: tar does not read what it writes to /dev/null.
    return ["sh", "-c", f"tar cPf - {shlex.join(map(str, trees))} | cat > /dev/null"]


def grep(*trees: Path) -> list[str]:
    return ["sh", "-c", f"grep -rs no-such-text-anywhere {shlex.join(map(str, trees))}; true"]


def run(bench: Bench) -> None:
    with mounted_trees(bench, "system", "tiny") as trees:
        measure_warm(bench, trees)
        measure_walks(bench, trees)


def measure_walks(bench: Bench, trees: Trees) -> None:
    for name, work, peer_limit, ext4_limit in (
        ("system", find, 1.0, 2.0),
        ("tiny", find, 1.0, 2.0),
        ("system", tar, 1.0, None),
        ("tiny", tar, 1.0, 1.0),
    ):
        bench.compare(
            f"cold {work.__name__}, {name}, to squashfuse_ll",
            ours=work(trees.ours(name)),
            before_ours=trees.cold_ours(),
            peer=work(trees.peer(name)),
            before_peer=trees.cold_peer,
            pairs=3,
            limit=peer_limit,
            warm_up=False,
        )
        bench.compare(
            f"cold {work.__name__}, {name}, to ext4",
            ours=work(trees.ours(name)),
            before_ours=trees.cold_ours(),
            peer=work(trees.directory(name)),
            before_peer=drop_caches,
            pairs=3,
            limit=ext4_limit,
            warm_up=False,
        )


def measure_warm(bench: Bench, trees: Trees) -> None:
    trees.mount_ours()
    for work in (find, tar, grep):
        for name in ("system", "tiny"):
            title = f"warm {work.__name__}, {name}: messages"
            if bench.wants(title):
                bench.record(title, fewest_messages(trees, name, work), "messages", limit=0)
            bench.compare(
                f"warm {work.__name__}, {name}, to ext4",
                ours=work(trees.ours(name)),
                peer=work(trees.directory(name)),
                pairs=5,
                limit=1.2,
            )


def fewest_messages(trees: Trees, name: str, work: Callable[..., list[str]]) -> int:
    """Return how many requests reach the server for a tree once everything is warm, part by part."""
    parts = sorted(trees.ours(name).glob(PARTS[name]))
    return sum(
        warm_messages(trees, work(*parts[start : start + PARTS_AT_ONCE]))
        for start in range(0, len(parts), PARTS_AT_ONCE)
    )


def warm_messages(trees: Trees, action: list[str]) -> int:
    """Return how many requests reach the server once everything is warm.

    The least of some runs over a part of a tree that is read in a moment: others may drop caches, or the kernel does
    (kdamond pages out what it takes for cold), and a listing that filled the reader's buffer is complete only later.
    """
    fewest = None
    for _ in range(12):
        before = trees.requests()
        subprocess.run(action, stdout=subprocess.DEVNULL, check=True)
        after = trees.requests()
        fewest = after - before if fewest is None else min(fewest, after - before)
        if not fewest:
            break
    assert fewest is not None
    return fewest
