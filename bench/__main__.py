"""`python -m bench [--quick] [--only TEXT] [--pairs N] [--folder DIR | --own-disk] [TOPIC...]`: run bench_TOPIC.py.

Results go to bench/results/TOPIC.json, which git ignores; `--update-baseline` writes them to bench/baseline/TOPIC.json,
which git keeps. With `--only`, what was not measured keeps its earlier result. Exits 1 when a ratio is above the limit
that its benchmark states.

A topic that takes an hour as a whole can be measured in pieces of a minute: `--folder` keeps its inputs between runs,
and `--only` says which piece it is to be.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from contextlib import nullcontext
from pathlib import Path

from bench.harness import Bench, Skipped
from bench.own_disk import own_disk

HERE = Path(__file__).parent


def main() -> int:
    topics = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measure ratios against a peer in one run.")
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"one of: {', '.join(topics)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="few pairs and small inputs: does it run at all?")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="TEXT",
        help="measure what has this in its name, nothing else (may be repeated)",
    )
    parser.add_argument("--pairs", type=int, metavar="N", help="how many pairs of each measurement")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--folder", type=Path, metavar="DIR", help="work in DIR/TOPIC and leave it there: the next run finds its inputs"
    )
    place.add_argument(
        "--own-disk", action="store_true", help="work on a new file system in a file, for each topic (root only)"
    )
    parser.add_argument("--update-baseline", action="store_true", help="make these results the ones to compare with")
    options = parser.parse_args()
    if unknown := set(options.topics) - set(topics):
        parser.error(f"no benchmark called {', '.join(sorted(unknown))}; there are: {', '.join(topics)}")
    ok = True
    for topic in options.topics or topics:
        print(f"{topic}:", flush=True)
        try:
            with own_disk() if options.own_disk else nullcontext(options.folder and options.folder.absolute()) as top:
                ok &= measure(topic, options, top and top / topic)
        except Skipped as reason:
            print(f"  skipped: {reason}")
    return 0 if ok else 1


def measure(topic: str, options: argparse.Namespace, folder: Path | None) -> bool:
    """Run one topic's file; returns whether all limits were kept."""
    with Bench(topic, quick=options.quick, only=options.only, pairs=options.pairs, folder=folder) as bench:
        importlib.import_module(f"bench.bench_{topic}").run(bench)
        bench.store(baseline=options.update_baseline)
    return bench.within_limits


sys.exit(main())
