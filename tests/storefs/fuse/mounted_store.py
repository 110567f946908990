"""A scratch store that is mounted by the program itself, for tests that look at it through the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from storefs.stores.mount_control import ask_all, forget_paths
from tests.conftest import BIN, SCRATCH_PREFIX, remove_tree
from tests.storefs.fuse.planting import Garden

if TYPE_CHECKING:
    from collections.abc import Iterator


class MountedStore:
    """A state directory, what is planted in it, and where it is mounted."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.environ = {
            "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(folder),
            "NIX_STORE_DIR": f"{folder}/store",
            "NIX_STATE_DIR": f"{folder}/state",
            "NIX_CONF_DIR": f"{folder}/etc",
        }
        self.root = folder / "store"
        self.verglas_dir = f"{folder}/state/verglas"
        self.garden = Garden(self.verglas_dir)

    def verglas(self, *arguments: str | Path, status: int = 0) -> str:
        done = subprocess.run(
            [BIN / "verglas", *arguments], env=self.environ, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def mount(self) -> None:
        self.verglas("mount", "--background", *self.options)

    def plant(self, name: str, tree: Path) -> Path:
        """Register a tree under a store path and return where it is visible."""
        return self.root / self.garden.plant(name, str(tree))

    def status(self) -> dict[str, object]:
        (answer,) = ask_all(self.verglas_dir, {"op": "status"})
        return answer

    def counters(self) -> dict[str, int]:
        counters = self.status()["counters"]
        assert isinstance(counters, dict)
        return counters

    def collect(self, path: Path) -> None:
        """Remove a path as the collector does: invalid, forgotten, then without records and blobs."""
        root = self.garden.unregister(path.name)
        forget_paths(self.verglas_dir, [path.name], [root])
        self.garden.fell(root)

    @property
    def log(self) -> str:
        return Path(f"{self.verglas_dir}/mount.log").read_text()

    def close(self) -> None:
        self.verglas("umount", "--lazy")
        self.garden.close()


@contextmanager
def mounted_store(*options: str) -> Iterator[MountedStore]:
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX))
    store = MountedStore(folder, *options)
    try:
        store.mount()
        yield store
    finally:
        store.close()
        remove_tree(folder)


def example_tree(folder: Path) -> Path:
    """Make a tree with one of everything."""
    tree = folder / "example"
    (tree / "bin").mkdir(parents=True)
    (tree / "small").write_bytes(b"hello\n")
    (tree / "empty").write_bytes(b"")
    (tree / "big").write_bytes(b"".join(index.to_bytes(4, "little") for index in range(300_000)))
    (tree / "bin" / "true").write_bytes(Path("/bin/true").read_bytes())
    (tree / "bin" / "hello").write_text("#!/bin/sh\necho hello from $0\n")
    for program in ("true", "hello"):
        os.chmod(tree / "bin" / program, 0o755)
    (tree / "link").symlink_to("bin/hello")
    (tree / "dangling").symlink_to("/nonexistent/" + "x" * 1000)
    (tree / "hello-again").write_bytes(b"hello\n")
    (tree / "hello-x").write_bytes(b"hello\n")
    os.chmod(tree / "hello-x", 0o755)
    (tree / "none").mkdir()
    (tree / "wide").mkdir()
    for index in range(1200):
        (tree / "wide" / f"file-{index:04}-{'y' * (index % 90)}").write_bytes(b"%d" % index)
    deep = tree / "deep"
    for _ in range(40):
        deep = deep / "down"
    deep.mkdir(parents=True)
    (deep / "bottom").write_bytes(b"!")
    (tree / ("n" * 255)).write_bytes(b"long")
    (tree / "tab\tnewline\nand \udcff".encode(errors="surrogateescape").decode(errors="surrogateescape")).write_bytes(
        b"odd"
    )
    (tree / "module.py").write_text("VALUE = 42\n")
    return tree


PYTHON = sys.executable
