"""Trees for the benchmarks of the mount: as a directory, as a squashfs image, and in our store; mounted, and afresh."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import BIN, Skipped, need
from storefs.stores.mount_control import ask_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.harness import Bench

SYSTEM_SOURCES = ("/usr/share", "/usr/lib", "/usr/include", "/usr/bin")


@contextmanager
def mounted_trees(bench: Bench, *names: str, peer: bool = True) -> Iterator[Trees]:
    """Make the trees called `names`: 'system' (2 GB in 50k files), 'tiny' (200k of them), 'large' (one of 1 GB).

    Args:
        bench: decides the sizes.
        names: which trees.
        peer: make the squashfs image as well.
    """
    if os.geteuid() != 0:
        raise Skipped("needs root, to drop caches and to mount")
    trees = Trees(bench, names, peer=peer)
    try:
        yield trees
    finally:
        trees.unmount()
        if names and not bench.keeps:
            remove_tree(trees.plain)


class Trees:
    """The same trees three times; see `mounted_trees`."""

    def __init__(self, bench: Bench, names: Sequence[str], *, peer: bool) -> None:
        self._bench = bench
        self._squashfuse = need("squashfuse_ll", "squashfuse")
        self.plain = bench.scratch / "plain"
        self.squash = bench.scratch / "squash"
        self.squash.mkdir(exist_ok=True)
        small = bench.quick
        makers: dict[str, Callable[[Path], None]] = {
            "system": lambda path: make_system_tree(
                path, files=2_000 if small else 50_000, size=(50 if small else 2000) << 20
            ),
            "tiny": lambda path: make_tiny_tree(path, files=5_000 if small else 200_000),
            "large": lambda path: make_large_file(path / "file", (32 if small else 1024) << 20),
        }
        made = {name: bench.made(f"plain/{name}", makers[name]) for name in names}
        self.paths = {
            name: bench.made(
                f"added/{name}", lambda note, tree=tree: note.write_text(self._run(BIN / "nix-store", "--add", tree))
            )
            .read_text()
            .strip()
            .rpartition("/")[2]
            for name, tree in made.items()
        }
        if peer:
            # With its default compression, as images are made.
            words = ["-quiet", "-no-progress", "-noappend", "-keep-as-directory"]
            mksquashfs = need("mksquashfs", "squashfs-tools")
            self.image = bench.made(
                f"{'-'.join(names)}.squashfs", lambda image: self._run(mksquashfs, *made.values(), image, *words)
            )

    def ours(self, name: str) -> Path:
        return Path(self._bench.environ["NIX_STORE_DIR"]) / self.paths[name]

    def peer(self, name: str) -> Path:
        return self.squash / name

    def directory(self, name: str) -> Path:
        return self.plain / name

    def largest_blob(self) -> Path:
        """Return the file in which the bytes of the largest file of all trees lie."""
        blobs = Path(self._bench.environ["NIX_STATE_DIR"]).glob("verglas/blobs/*/*")
        return max(blobs, key=lambda blob: blob.stat().st_size)

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

    def mount_peer(self) -> int:
        """Mount the image; return the number of the process that serves it."""
        self._run("umount", "-l", self.squash, status=None)
        command = [str(word) for word in (self._squashfuse, "-o", "ro", self.image, self.squash)]
        self._run(*command)
        return max(process for process, words in processes() if words[: len(command)] == command)

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
        answers = ask_all(f"{self._bench.environ['NIX_STATE_DIR']}/verglas", {"op": "status"})
        (answer,) = (answer for answer in answers if answer["mounted"])  # others are on their way out
        return answer

    def requests(self) -> int:
        """Return how many requests have reached the server, without statfs(2).

        The kernel can't remember how much room there is, and find and grep ask once where a directory is very large.
        """
        counted = self.counters().items()
        return sum(value for key, value in counted if key.startswith("requests ") and key != "requests statfs")

    def counters(self) -> dict[str, int]:
        counters = self.status()["counters"]
        assert isinstance(counters, dict)
        return counters


def processes() -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the command line of every process."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(file.parent.name), os.fsdecode(file.read_bytes()).split("\0")
        except OSError:
            continue  # it has ended


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
    path.parent.mkdir()
    generator = random.Random(2)
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(generator.randbytes(1 << 20))


def remove_tree(path: Path) -> None:
    subprocess.run(["chmod", "-R", "u+w", path], check=True)
    shutil.rmtree(path)


def find(*trees: Path) -> list[str]:
    return ["find", *map(str, trees), "-ls"]
