"""Our daemon against real nix-daemon, asked by the same real clients in one run (issue 9's table).

What was added is on the disk when we answer; Nix waits for nothing. So an addition has three ratios: as both are, both
durable (the peer is followed by a sync), and neither waiting (our daemon with `fsync-store-paths = false`).
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import BIN, need
from storefs.config import load_config
from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StoreDir, StorePath
from storefs.stores.local import LocalStore
from storefs.stores.remote import RemoteStore
from storefs.stores.remote_connection import connect_unix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench

CLOSURE = 1056  # paths, as in the measurement of 2011 that row D4 quotes
BATCH = 10_000
QUERY = f"-qR of {CLOSURE} paths by a real client"
VALID_PATHS = f"queryValidPaths of {BATCH}"
ADD = "add a NAR of 1 GB by a real client"
ADD_SYNCED = f"{ADD}, beside a peer that syncs"
ADD_UNWAITED = f"{ADD}, neither waits for the disk"


def run(bench: Bench) -> None:
    """Start both daemons on equal stores, and compare."""
    nix_store = need("nix-store", "nix-bin")
    theirs = {
        **bench.environ,
        "NIX_STATE_DIR": f"{bench.scratch}/peer-state",
        "NIX_LOG_DIR": f"{bench.scratch}/peer-log",
    }
    theirs["NIX_CONFIG"] = bench.environ["NIX_CONFIG"] + "sandbox = false\n"
    paths = list(_closure(StoreDir(bench.environ["NIX_STORE_DIR"])))
    top = f"{bench.environ['NIX_STORE_DIR']}/{paths[-1][0].base_name}"
    _register(bench.environ, paths, theirs, nix_store)
    ours_daemon = _start([str(BIN / "nix-daemon")], bench.environ)
    peer_daemon = _start([need("nix-daemon", "nix-bin")], theirs)
    try:
        client = {"NIX_REMOTE": "daemon"}
        bench.environ.update(client)
        peer = {**client, "NIX_STATE_DIR": theirs["NIX_STATE_DIR"]}
        if bench.wants(QUERY):
            ask = [nix_store, "-qR", top]
            bench.compare(QUERY, ours=ask, peer=ask, peer_environ=peer, limit=1.0)
            if _installed("strace"):
                ratio = _system_calls(ask, bench.environ) / _system_calls(ask, {**bench.environ, **peer})
                bench.record("the client's system calls meanwhile", ratio, "x the peer", limit=1.0)
        if bench.wants(VALID_PATHS):
            ours_store, peer_store = (_connect(env) for env in (bench.environ, {**bench.environ, **peer}))
            extra = [StorePath(f"{index:032d}-missing") for index in range(BATCH - len(paths))]
            many = [path for path, _ in paths] + extra
            bench.compare(
                VALID_PATHS,
                ours=lambda: _discard(ours_store.valid_paths(many)),
                peer=lambda: _discard(peer_store.valid_paths(many)),
                limit=0.7,
            )
        if bench.wants(ADD, ADD_SYNCED):
            _measure_adding(bench, nix_store, peer, (ADD, ADD_SYNCED))
        bench.record("idle memory", _resident(ours_daemon.pid) / 1e6, "MB", limit=60)
        if bench.wants(ADD_UNWAITED):
            ours_daemon.terminate()
            ours_daemon.wait()
            unwaited = {"NIX_CONFIG": bench.environ["NIX_CONFIG"] + "fsync-store-paths = false\n", "NIX_REMOTE": ""}
            ours_daemon = _start([str(BIN / "nix-daemon")], {**bench.environ, **unwaited})
            _measure_adding(bench, nix_store, peer, (ADD_UNWAITED,))
    finally:
        for daemon in (ours_daemon, peer_daemon):
            daemon.terminate()
            daemon.wait()
        subprocess.run([BIN / "verglas", "umount"], env=bench.environ, capture_output=True, check=False)


def _measure_adding(bench: Bench, nix_store: str, peer: dict[str, str], names: tuple[str, ...]) -> None:
    size = (64 if bench.quick else 1024) << 20
    big = bench.scratch / "big"
    with big.open("wb") as file:
        block = os.urandom(1 << 20)
        for index in range(size >> 20):
            file.write(index.to_bytes(8, "little") + block[8:])
    add = [nix_store, "--add", str(big)]

    theirs = {**bench.environ, **peer}
    path = subprocess.run(add, env=theirs, capture_output=True, text=True, check=True).stdout.strip()

    def forget(environ: dict[str, str]) -> None:
        subprocess.run([nix_store, "--delete", path], env=environ, capture_output=True, check=False)  # if it is there

    def fresh() -> None:
        # Both, and written: what the other one left to be written would be written by whoever syncs next.
        forget(bench.environ)
        forget(theirs)
        os.sync()

    def added_then_synced() -> float:
        begun = time.perf_counter()
        subprocess.run(add, env=theirs, stdout=subprocess.DEVNULL, check=True)
        subprocess.run(["sync", "--file-system", bench.scratch], check=True)
        return time.perf_counter() - begun

    compare = partial(bench.compare, ours=add, before_ours=fresh, before_peer=fresh, pairs=3, limit=1.0, warm_up=False)
    for name in names:
        if name == ADD_SYNCED:
            compare(name, peer=added_then_synced)
        else:
            compare(name, peer=add, peer_environ=peer)


def _closure(directory: StoreDir) -> Iterator[tuple[StorePath, list[StorePath]]]:
    """A graph in which each path refers to up to ten earlier ones; the last reaches all of them."""
    made: list[StorePath] = []
    for index in range(CLOSURE):
        path = directory.make_text_path(f"package-{index}", hash_bytes("sha256", b"%d" % index))
        references = made[max(0, index - 10) : index]
        made.append(path)
        yield path, references


def _register(
    environ: dict[str, str], paths: list[tuple[StorePath, list[StorePath]]], theirs: dict[str, str], nix_store: str
) -> None:
    store_dir = environ["NIX_STORE_DIR"]
    with LocalStore(load_config(environ)) as store, store.intake() as intake:
        tree = intake.add_bytes(b"x")
        intake.register(
            [(tree, PathInfo(path, tree.nar_hash, tree.nar_size, references)) for path, references in paths]
        )
        nar_hash = tree.nar_hash.to_string("base16", False)
    Path(store_dir).mkdir(exist_ok=True)
    lines = []
    for path, references in paths:
        # Real Nix registers only what exists; its files are seen through our mount of the same store directory.
        shown = [f"{store_dir}/{reference.base_name}" for reference in references]
        lines += [f"{store_dir}/{path.base_name}", nar_hash, "120", "", str(len(shown)), *shown]
    subprocess.run(
        [nix_store, "--load-db"], env=theirs, input="\n".join(lines) + "\n", text=True, check=True, capture_output=True
    )


def _start(command: list[str], environ: dict[str, str]) -> subprocess.Popen[bytes]:
    path = f"{environ['NIX_STATE_DIR']}/daemon-socket/socket"
    process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            connect_unix(path)[2]()
        except Exception:  # not there yet
            time.sleep(0.02)
        else:
            return process
    raise RuntimeError(f"'{command[0]}' does not listen")


def _connect(environ: dict[str, str]) -> RemoteStore:
    path = f"{environ['NIX_STATE_DIR']}/daemon-socket/socket"
    return RemoteStore("daemon", StoreDir(environ["NIX_STORE_DIR"]), lambda: connect_unix(path))


def _system_calls(command: list[str], environ: dict[str, str]) -> int:
    done = subprocess.run(
        ["strace", "-f", "-c", "-U", "calls,name", *command], env=environ, capture_output=True, text=True, check=True
    )
    total = re.search(r"^\s*(\d+)\s+total", done.stderr, re.MULTILINE)
    if total is None:
        raise RuntimeError(done.stderr)
    return int(total[1])


def _installed(program: str) -> bool:
    """Return whether an optional tool is there."""
    return any(os.access(f"{folder}/{program}", os.X_OK) for folder in ("/usr/bin", "/bin"))


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS")


def _discard(_: object) -> None:
    return None
