"""A store of a million synthetic paths with ten references each: opening, asking, closures, marking, memory."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import BIN, need
from storefs.config import load_config
from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.metadata import path_infos
from storefs.metadata.schema import KEY, NUMBER
from storefs.stores.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.harness import Bench
    from storefs.metadata.environment import Transaction

REFERENCES = 10
CLOSURE = 2000
_BATCH = 50_000


def name(number: int) -> StorePath:
    digest = number.to_bytes(8, "big") * 2
    return StorePath.from_digest(hash_bytes("sha1", digest).digest, f"synthetic-package-{number}")


def references(number: int, source: random.Random) -> set[int]:
    """A closure of CLOSURE paths at the bottom, everything else spread over what was there before."""
    if number == 0:
        return set()
    if number < CLOSURE:
        return {number - 1, *(source.randrange(number) for _ in range(REFERENCES - 1))}
    return {source.randrange(number) for _ in range(REFERENCES)}


def fill(store: LocalStore, count: int) -> None:
    env = store.environment
    source = random.Random(1)
    with store.intake() as intake:
        tree = intake.add_bytes(b"x")
        intake.register([(tree, PathInfo(name(0), tree.nar_hash, tree.nar_size))])
    root = store.root_inode(name(0))
    ids = [1]
    for start in range(1, count, _BATCH):

        def batch(txn: Transaction, start: int = start) -> None:
            for number in range(start, min(start + _BATCH, count)):
                info = PathInfo(name(number), tree.nar_hash, tree.nar_size, registration_time=1)
                path_id = path_infos.insert(env, txn, info, root)
                ids.append(path_id)
                path_infos.set_references(env, txn, path_id, [ids[each] for each in references(number, source)])
            txn.put(KEY.pack(root), NUMBER.pack(len(ids)), db=env.uses)

        env.update(batch)


def run(bench: Bench) -> None:
    count = 50_000 if bench.quick else 1_000_000
    bench.made(f"filled-{count}", lambda _: _fill_elsewhere(bench.environ, count))
    with LocalStore(load_config(bench.environ)) as store:
        bench.record(f"database of {count} paths", os.stat(store.environment.file).st_size / count, "bytes/path")
    top = bench.environ["NIX_STORE_DIR"] + "/" + name(CLOSURE - 1).base_name
    one = bench.environ["NIX_STORE_DIR"] + "/" + name(count // 2).base_name
    bench.record(
        f"open a store of {count} paths and ask one question",
        min(_seconds(bench, "-q", "--references", one) for _ in range(5)) * 1000,
        "ms",
        limit=30,
    )
    _closure(bench, top, count)
    link = Path(bench.environ["NIX_STATE_DIR"]) / "gcroots" / "root"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(bench.environ["NIX_STORE_DIR"] + "/" + name(count - 1).base_name)
    seconds, memory = _mark(bench)
    bench.record(f"mark live and dead among {count} paths", seconds, "s", limit=6)
    bench.record("memory of that", memory, "MB", limit=600)


def _fill_elsewhere(environ: Mapping[str, str], count: int) -> None:
    """In a process of its own: the most memory that a program had counts that of who began it (getrusage(2))."""
    process = multiprocessing.get_context("spawn").Process(target=_fill, args=(dict(environ), count))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError("the store can't be filled")


def _fill(environ: dict[str, str], count: int) -> None:
    with LocalStore(load_config(environ)) as store:
        fill(store, count)


def _seconds(bench: Bench, *arguments: str) -> float:
    begin = time.perf_counter()
    subprocess.run([BIN / "nix-store", *arguments], env=bench.environ, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def _closure(bench: Bench, top: str, count: int) -> None:
    """The same closure registered with real Nix, alone there, which is in Nix's favour."""
    nix_store = need("nix-store", "nix-bin")
    peer = {"NIX_STATE_DIR": f"{bench.scratch}/peer", "NIX_LOG_DIR": f"{bench.scratch}/peer/log"}
    closure = subprocess.run(
        [BIN / "nix-store", "-qR", top], env=bench.environ, stdout=subprocess.PIPE, check=True, text=True
    ).stdout.split()
    assert len(closure) == CLOSURE
    dumped = subprocess.run(
        [BIN / "nix-store", "--dump-db", *closure], env=bench.environ, stdout=subprocess.PIPE, check=True
    ).stdout
    subprocess.run([nix_store, "--load-db"], env={**bench.environ, **peer}, input=dumped, check=True)
    bench.compare(
        f"nix-store -qR of {CLOSURE} paths in a store of {count}",
        ours=["nix-store", "-qR", top],
        peer=[nix_store, "-qR", top],
        peer_environ=peer,
        limit=0.5,
    )


def _mark(bench: Bench) -> tuple[float, float]:
    before = os.times()
    process = subprocess.Popen(
        [BIN / "nix-store", "--gc", "--print-dead"], env=bench.environ, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    after = os.times()
    elapsed = after.elapsed - before.elapsed
    print(f"    (of {elapsed:.2f} s, {usage.ru_utime + usage.ru_stime:.2f} s processor time)", file=sys.stderr)
    return elapsed, usage.ru_maxrss / 1024
