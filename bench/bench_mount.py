"""The mount beside an ext4 directory and squashfuse_ll: walking, reading, memory. Needs root; 20 minutes, 6 GB of disk.

Cold means that every cache is dropped and both servers are started afresh, since what they map stays in memory
otherwise. Trees: files of this system (`system`), many tiny files (`tiny`), one large incompressible file.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import BIN, Skipped, need

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.harness import Bench

SYSTEM_SOURCES = ("/usr/share", "/usr/lib", "/usr/include", "/usr/bin")
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


class Trees:
    """The same trees in a directory, in a squashfs image, and in our store; mounted, and mounted afresh."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._squashfuse = need("squashfuse_ll", "squashfuse")
        self.plain = bench.scratch / "plain"
        self.image = bench.scratch / "image.squashfs"
        self.squash = bench.scratch / "squash"
        self.squash.mkdir()
        small = bench.quick
        make_system_tree(self.plain / "system", files=2_000 if small else 50_000, size=(50 if small else 2000) << 20)
        make_tiny_tree(self.plain / "tiny", files=5_000 if small else 200_000)
        (self.plain / "large").mkdir()
        self.large_size = (32 if small else 1024) << 20
        make_large_file(self.plain / "large" / "file", self.large_size)
        self.paths = {
            name: Path(self._run(BIN / "nix-store", "--add", self.plain / name).strip()).name
            for name in ("system", "tiny", "large")
        }
        self._run(
            need("mksquashfs", "squashfs-tools"), self.plain, self.image, "-quiet", "-no-progress", "-comp", "lzo"
        )
        self.options: tuple[str, ...] = ()

    def ours(self, name: str) -> Path:
        return Path(self._bench.environ["NIX_STORE_DIR"]) / self.paths[name]

    def peer(self, name: str) -> Path:
        return self.squash / name

    def directory(self, name: str) -> Path:
        return self.plain / name

    def _run(self, *command: str | Path, status: int | None = 0) -> str:
        done = subprocess.run(
            [str(word) for word in command], env=self._bench.environ, capture_output=True, text=True, check=False
        )
        if status is not None and done.returncode != status:
            raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def mount_ours(self, *options: str) -> None:
        self._run(BIN / "verglas", "umount", "--lazy")
        self._run(BIN / "verglas", "mount", "--background", *options)

    def mount_peer(self) -> None:
        self._run("umount", "-l", self.squash, status=None)
        self._run(self._squashfuse, "-o", "ro", self.image, self.squash)

    def unmount(self) -> None:
        self._run(BIN / "verglas", "umount", "--lazy")
        self._run("umount", "-l", self.squash, status=None)

    def cold_ours(self, *options: str) -> Callable[[], None]:
        def prepare() -> None:
            self._run(BIN / "verglas", "umount", "--lazy")
            drop_caches()
            self.mount_ours(*options)

        return prepare

    def cold_peer(self) -> None:
        self._run("umount", "-l", self.squash, status=None)
        drop_caches()
        self.mount_peer()

    def status(self) -> dict[str, object]:
        answers = json.loads(self._run(BIN / "verglas", "mount", "--status", "--json"))
        (answer,) = (answer for answer in answers if answer["mounted"])  # others are on their way out
        found: dict[str, object] = answer
        return found

    def counters(self) -> dict[str, int]:
        counters = self.status()["counters"]
        assert isinstance(counters, dict)
        return counters


def drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def make_system_tree(target: Path, *, files: int, size: int) -> None:
    """Copy files of this machine, in the order of their names, until there are enough of them."""
    target.mkdir(parents=True)
    for source in SYSTEM_SOURCES:
        for folder, names, entries in os.walk(source):
            names.sort()
            if files <= 0 or size <= 0:
                return
            into = target / folder.lstrip("/")
            into.mkdir(parents=True, exist_ok=True)
            for name in entries:
                path = os.path.join(folder, name)
                length = os.lstat(path).st_size
                if os.path.islink(path):
                    os.symlink(os.readlink(path), into / name)
                elif os.path.isfile(path) and length < 64 << 20:
                    shutil.copy(path, into / name)
                    size -= length
                files -= 1


def make_tiny_tree(target: Path, *, files: int) -> None:
    generator = random.Random(1)
    for index in range(files):
        folder = target / f"{index // 4000:02}" / f"{index // 50 % 80:02}"
        if index % 50 == 0:
            folder.mkdir(parents=True)
        (folder / f"file-{index}").write_bytes(generator.randbytes(generator.randrange(20, 400)))


def make_large_file(path: Path, size: int) -> None:
    generator = random.Random(2)
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(generator.randbytes(1 << 20))


def find(tree: Path) -> list[str]:
    return ["find", str(tree), "-ls"]


def tar(tree: Path) -> list[str]:
    # Through a pipe: tar does not read what it writes to /dev/null.
    return ["sh", "-c", f"tar cf - -C '{tree}' . | cat > /dev/null"]


def grep(tree: Path) -> list[str]:
    return ["sh", "-c", f"grep -r no-such-text-anywhere '{tree}'; true"]


def run(bench: Bench) -> None:
    if os.geteuid() != 0:
        raise Skipped("needs root, to drop caches and to mount")
    trees = Trees(bench)
    try:
        measure_walks(bench, trees)
        measure_warm(bench, trees)
        measure_large(bench, trees)
        measure_parallel(bench, trees)
        measure_server(bench, trees)
    finally:
        trees.unmount()


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
            action = work(trees.ours(name))
            subprocess.run(action, stdout=subprocess.DEVNULL, check=True)
            before = sum(value for key, value in trees.counters().items() if key.startswith("requests "))
            subprocess.run(action, stdout=subprocess.DEVNULL, check=True)
            after = sum(value for key, value in trees.counters().items() if key.startswith("requests "))
            bench.record(f"warm {work.__name__}, {name}: messages", after - before, "messages", limit=0)
            bench.compare(
                f"warm {work.__name__}, {name}, to ext4",
                ours=action,
                peer=work(trees.directory(name)),
                pairs=5,
                limit=1.2,
            )


def measure_large(bench: Bench, trees: Trees) -> None:
    reads = "500" if bench.quick else "20000"
    for title, work in (
        ("sequential", lambda path: ["cat", f"{path}/file"]),
        ("random 4K", lambda path: ["python3", "-c", RANDOM_READS, f"{path}/file", reads, "3"]),
    ):
        action = work(trees.ours("large"))
        if title == "sequential":
            action = ["sh", "-c", f"cat '{trees.ours('large')}/file' | cat > /dev/null"]
        peers = {
            "ext4": (trees.directory("large"), drop_caches, ("--passthrough",), "with passthrough"),
            "squashfuse_ll": (trees.peer("large"), trees.cold_peer, (), "without passthrough"),
        }
        for peer, (path, prepare, options, how) in peers.items():
            other = work(path)
            if title == "sequential":
                other = ["sh", "-c", f"cat '{path}/file' | cat > /dev/null"]
            bench.compare(
                f"cold {title} {how}, to {peer}",
                ours=action,
                before_ours=trees.cold_ours(*options),
                peer=other,
                before_peer=prepare,
                pairs=3,
                limit=1.2,
                warm_up=False,
            )


def measure_parallel(bench: Bench, trees: Trees) -> None:
    """Two readers of different halves of a tree at once, against one after the other."""
    halves: list[list[str]] = [[], []]
    for index, folder in enumerate(sorted(trees.directory("system").glob("usr/*/*"))):
        halves[index % 2].append(f"'{trees.ours('system') / folder.relative_to(trees.directory('system'))}'")
    commands = [f"tar cf - {' '.join(half)} | cat > /dev/null" for half in halves]
    bench.compare(
        "two cold readers at once, to one after the other",
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
    names = list_files(trees.plain / "tiny")  # directory by directory, as programs look them up
    for transport, lookup_limit, memory_limit in (("kernel", 10, 20), ("pyfuse3", 15, 150)):
        trees.mount_ours("--transport", transport)
        paths = b"\0".join(os.fsencode(trees.ours("tiny")) + b"/" + name for name in names[:30_000])
        before = trees.status()
        subprocess.run(["python3", "-c", STAT_ALL], input=paths, check=True)
        after = trees.status()
        lookups = count(after, "requests lookup") - count(before, "requests lookup")
        seconds = float(str(after["cpu seconds"])) - float(str(before["cpu seconds"]))
        bench.record(f"look-up, {transport}", 1e6 * seconds / lookups, "us of processor time", limit=lookup_limit)
        subprocess.run(find(trees.ours("tiny")), stdout=subprocess.DEVNULL, check=True)
        memory = float(str(trees.status()["anonymous KiB"])) / 1024
        bench.record(f"memory after a walk, {transport}", memory, "MiB anonymous", limit=memory_limit)


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
