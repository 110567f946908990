"""The store beside real Nix 2.8 and cp: adding, importing, verifying, collecting, sharing.

Every run is durable, the peer's by a sync that follows it, but one, in which neither waits for the disk.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import BIN, need, read_tree
from builder.removal import remove_tree

if TYPE_CHECKING:
    from bench.harness import Bench


START = "nix-store -q --hash"
ADD = "add a tree of {} files, synced, beside nix-store --add"
ADD_COPY = "add a tree of {} files, synced, beside cp -a and sync"
ADD_UNWAITED = "add a tree of {} files, neither waits for the disk, beside nix-store --add"
VERIFY = "verify --check-contents on {} files"
QUICK = "quick verify of {} files beside a full one"
IMPORT = "import {} paths, {} files"
COLLECT = "collect {} dead files in {} paths"
SLOWEST = "slowest add during that collection"
SHARE = "disk usage of five similar closures beside nix-store --optimise"


def run(bench: Bench) -> None:
    peer = Peer(bench, "peer")
    files = 5000 if bench.quick else 50_000
    if bench.wants(START):
        _start(bench, peer)
    if bench.wants(*(each.format(files) for each in (ADD, ADD_COPY, ADD_UNWAITED))):
        _add(bench, peer, files)
    if bench.wants(VERIFY.format(2 * files), QUICK.format(2 * files)):
        _verify(bench, files)
    paths = 40 if bench.quick else 200
    if bench.wants(IMPORT.format(paths, paths * 100)):
        _import(bench, peer, paths)
    paths = 10 if bench.quick else 60
    if bench.wants(COLLECT.format(paths * 1000, paths), SLOWEST):
        _collect(bench, peer, paths)
    if bench.wants(SHARE):
        _share(bench, peer)


class Peer:
    """Real Nix on directories of its own."""

    def __init__(self, bench: Bench, name: str) -> None:
        """They lie in the folder ``name`` of the scratch directory."""
        self.nix_store = need("nix-store", "nix-bin")
        self.environ = self.in_folder(bench.scratch / name)
        self.bench = bench

    @staticmethod
    def in_folder(folder: Path) -> dict[str, str]:
        return {
            "NIX_STORE_DIR": f"{folder}/store",
            "NIX_STATE_DIR": f"{folder}/state",
            "NIX_LOG_DIR": f"{folder}/log",
            "NIX_CONF_DIR": f"{folder}/etc",
        }

    def output(self, *arguments: str | Path, stdin: str | None = None) -> str:
        return _output([self.nix_store, *map(str, arguments)], {**self.bench.environ, **self.environ}, stdin)


def _output(words: list[str], environ: dict[str, str], stdin: str | None = None) -> str:
    with open(stdin or os.devnull, "rb") as given:
        return subprocess.run(
            words, env=environ, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
        ).stdout.strip()


def ours(bench: Bench, *arguments: str | Path, stdin: str | None = None) -> str:
    return _output([str(BIN / "nix-store"), *map(str, arguments)], bench.environ, stdin)


def make_tree(path: Path, files: int, seed: int, size: int = 21000) -> Path:
    """A tree like a package's: four fifths of the files small, `size` bytes on average, 40 to a directory."""
    source = random.Random(seed)
    noise = source.randbytes(8 << 20)
    for number in range(files):
        folder = path / f"d{number // 1600}" / f"e{number // 40}"
        if number % 40 == 0:
            folder.mkdir(parents=True)
        length = source.randrange(200, 8000) if number % 5 else source.randrange(17000, 8 * size + 17000)
        start = source.randrange(len(noise) - length) if length < len(noise) else 0
        with open(folder / f"file{number}", "wb") as file:
            file.write(b"%d\n" % source.getrandbits(64))
            file.write(noise[start : start + length])
    return path


def _start(bench: Bench, peer: Peer) -> None:
    small = bench.scratch / "small"
    small.write_text("x")
    path, theirs = ours(bench, "--add", small), peer.output("--add", small)
    bench.compare(
        START,
        ours=["nix-store", "-q", "--hash", path],
        peer=[peer.nix_store, "-q", "--hash", theirs],
        peer_environ=peer.environ,
        pairs=15,
        limit=1.0,
    )


def _add(bench: Bench, peer: Peer, files: int) -> None:
    tree = bench.made("tree", lambda path: make_tree(path, files, 1))
    folder = tree  # of the round

    def fresh() -> None:
        nonlocal folder
        folder = bench.fresh()
        read_tree(tree)

    def mounted() -> None:
        # The first command on a store mounts it, once; this is about adding.
        bench.unmount()
        fresh()
        environ = {**bench.environ, "NIX_STATE_DIR": f"{folder}/state"}
        subprocess.run([BIN / "verglas", "mount", "--background"], env=environ, capture_output=True, check=True)

    def mine(settings: str = "") -> float:
        changes = {"NIX_STATE_DIR": f"{folder}/state", "NIX_CONFIG": bench.environ["NIX_CONFIG"] + settings}
        return bench.seconds(["nix-store", "--add", tree], changes)

    def theirs(command: str) -> float:
        return bench.seconds(["sh", "-c", command], peer.in_folder(folder))

    def synced(command: str) -> float:
        return theirs(f"{command} && sync -f {folder}")

    compare = partial(
        bench.compare,
        before_ours=mounted,
        before_peer=fresh,
        pairs=5,
        warm_up=False,
    )
    add = f"{peer.nix_store} --add {tree}"
    compare(ADD.format(files), ours=mine, peer=lambda: synced(add), limit=0.6)
    compare(ADD_COPY.format(files), ours=mine, peer=lambda: synced(f"cp -a {tree} {folder}/copy"), limit=1.0)
    compare(
        ADD_UNWAITED.format(files),
        ours=lambda: mine("fsync-store-paths = false\n"),
        peer=lambda: theirs(add),
        limit=0.6,
    )


def _verify(bench: Bench, files: int) -> None:
    """Two large paths, in stores of their own, which a later run finds."""
    peer = Peer(bench, "verified-peer")
    mine = dict(bench.environ)
    bench.environ["NIX_STATE_DIR"] = f"{bench.scratch}/verified"
    for number, name in enumerate(("tree", "second"), 1):
        tree = bench.made(name, lambda path, number=number: make_tree(path, files, number))
        bench.made(f"verified-{name}", lambda _, tree=tree: (peer.output("--add", tree), ours(bench, "--add", tree)))
    # Both are read once before, so that neither waits for the disk.
    compare = partial(
        bench.compare,
        peer=[peer.nix_store, "--verify", "--check-contents"],
        peer_environ=peer.environ,
        pairs=3,
    )
    compare(VERIFY.format(2 * files), ours=["nix-store", "--verify", "--check-contents"], limit=0.5)
    compare(QUICK.format(2 * files), ours=["nix-store", "--verify"], limit=0.02)
    bench.environ.update(mine)


def _import(bench: Bench, peer: Peer, paths: int) -> None:
    files = 100
    sources = [make_tree(bench.scratch / "many" / f"p{number}", files, 100 + number, 8000) for number in range(paths)]
    added = peer.output("--add", *sources).split()
    archive = f"{bench.scratch}/archive"
    with open(archive, "wb") as file:
        subprocess.run(
            [peer.nix_store, "--export", *added], env={**bench.environ, **peer.environ}, stdout=file, check=True
        )
    # Both read the same archive, so both use the logical store that it names.
    same = {"NIX_STORE_DIR": peer.environ["NIX_STORE_DIR"]}
    mine = dict(bench.environ)
    bench.environ.update(same)
    state = f"{bench.environ['NIX_STATE_DIR']}/verglas"
    bench.compare(
        IMPORT.format(paths, paths * files),
        ours=["sh", "-c", f"{BIN}/nix-store --import < {archive}"],
        peer=["sh", "-c", f"{peer.nix_store} --import < {archive} && sync -f {bench.scratch}"],
        peer_environ=peer.environ,
        before_ours=lambda: (shutil.rmtree(state, ignore_errors=True), os.sync()),
        before_peer=lambda: (remove_tree(f"{bench.scratch}/peer"), os.sync()),
        pairs=3,
        limit=0.5,
        warm_up=False,
    )
    bench.environ.update(mine)
    shutil.rmtree(state)
    shutil.rmtree(bench.scratch / "many")
    os.unlink(archive)
    _forget_all(bench, peer)


def _collect(bench: Bench, peer: Peer, paths: int) -> None:
    files = 1000
    sources = [make_tree(bench.scratch / "dead" / f"p{number}", files, 500 + number, 3000) for number in range(paths)]
    bench.compare(
        COLLECT.format(paths * files, paths),
        ours=["nix-store", "--gc"],
        peer=[peer.nix_store, "--gc"],
        peer_environ=peer.environ,
        before_ours=lambda: (ours(bench, "--add", *sources), os.sync()),
        before_peer=lambda: (peer.output("--add", *sources), os.sync()),
        pairs=3,
        limit=0.5,
        warm_up=False,
    )
    ours(bench, "--add", *sources)
    slowest = _slowest_add_while_collecting(bench)
    bench.record(SLOWEST, slowest, "s", limit=0.15)
    shutil.rmtree(bench.scratch / "dead")
    _forget_all(bench, peer)


def _slowest_add_while_collecting(bench: Bench) -> float:
    """Add small texts, each durable, in one process while another collects; returns the longest wait in seconds."""
    program = """
import sys, time
from storefs.config import load_config
from storefs.stores.local import LocalStore
store = LocalStore(load_config())
print("ready", flush=True)
sys.stdin.readline()
slowest, number = 0.0, 0
import select
while not select.select([sys.stdin], [], [], 0)[0]:
    begin = time.perf_counter()
    store.add_text(f"text-{number}", b"%d" % number)
    slowest = max(slowest, time.perf_counter() - begin)
    number += 1
print(slowest)
"""
    with subprocess.Popen(
        [str(BIN / "python"), "-c", program],
        env=bench.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as adder:
        assert adder.stdin is not None
        assert adder.stdout is not None
        adder.stdout.readline()
        adder.stdin.write("go\n")
        adder.stdin.flush()
        ours(bench, "--gc")
        adder.stdin.write("stop\n")
        adder.stdin.flush()
        return float(adder.stdout.readline())


def _share(bench: Bench, peer: Peer) -> None:
    """Five closures of which four fifths are equal."""
    files = 500 if bench.quick else 2000
    base = make_tree(bench.scratch / "base", files, 900, 8000)
    versions = []
    for number in range(5):
        version = bench.scratch / f"version{number}"
        shutil.copytree(base, version)
        for changed in sorted(version.rglob("file*"))[number * files // 10 : (number + 1) * files // 10]:
            changed.write_bytes(changed.read_bytes() + b"%d" % number)
        versions.append(version)
    ours(bench, "--add", *versions)
    peer.output("--add", *versions)
    peer.output("--optimise")
    mine = _usage(Path(bench.environ["NIX_STATE_DIR"]) / "verglas")
    reserve = 8 << 20
    theirs = _usage(Path(peer.environ["NIX_STORE_DIR"])) + _usage(Path(peer.environ["NIX_STATE_DIR"])) - reserve
    bench.record(SHARE, (mine - reserve) / theirs, "x", limit=1.0)
    for tree in (base, *versions):
        shutil.rmtree(tree)
    _forget_all(bench, peer)


def _usage(path: Path) -> int:
    return int(
        subprocess.run(["du", "-s", "-B1", path], stdout=subprocess.PIPE, check=True, text=True).stdout.split()[0]
    )


def _forget_all(bench: Bench, peer: Peer) -> None:
    shutil.rmtree(f"{bench.environ['NIX_STATE_DIR']}", ignore_errors=True)
    remove_tree(f"{bench.scratch}/peer")
