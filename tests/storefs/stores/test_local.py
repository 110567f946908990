"""Opening local stores."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from storefs.stores.local import LocalStore

if TYPE_CHECKING:
    from pathlib import Path

    from storefs.config import Config


def test_a_new_store_that_another_process_makes_at_the_same_time(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_too_early(link: str) -> bool:
        os.symlink(f"{config.state_dir}/profiles", link)
        return False

    monkeypatch.setattr(os.path, "lexists", look_too_early)
    with LocalStore(config, map_size=1 << 20) as store:
        store.add_text("first", b"x")
    assert os.readlink(f"{config.state_dir}/gcroots/profiles") == f"{config.state_dir}/profiles"


def test_a_process_that_was_killed_while_it_made_a_store(config: Config) -> None:
    for name in ("gcroots/auto", "profiles", "verglas"):  # as a mount and it left them
        os.makedirs(f"{config.state_dir}/{name}")
    LocalStore(config, map_size=1 << 20).close()
    assert os.readlink(f"{config.state_dir}/gcroots/profiles") == f"{config.state_dir}/profiles"


ADD = """
import sys
from storefs.config import load_config
from storefs.stores.adding import add_host_path
from storefs.stores.local import LocalStore
with LocalStore(load_config(), map_size=1 << 22, inline_limit=64) as store:
    print(store.directory.print(add_host_path(store, sys.argv[1], "tree")))
"""


def waits(environ: dict[str, str], scratch: Path, tree: Path) -> list[str]:
    """For what an addition waits, and what it has the disk begin with: of all but the database and new directories."""
    log = scratch / "log"
    environ = environ | {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    calls = "trace=syncfs,sync,fsync,fdatasync,sync_file_range"
    words = ["strace", "-f", "-y", "-o", str(log), "-e", calls, sys.executable, "-c", ADD, str(tree)]
    subprocess.run(words, env=environ, check=True, stdout=subprocess.DEVNULL)
    found = re.findall(r"(sync\w*|f\w*sync)\(\d+<([^>]*)>", log.read_text())
    return [name for name, path in found if "/blobs" in path or "/tmp/" in path.removeprefix(str(scratch))]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
@pytest.mark.parametrize(("files", "size", "call"), [(3, 100, "fsync"), (65, 100, "syncfs"), (1, 33 << 20, "fsync")])
def test_contents_are_not_waited_for_where_the_setting_says_so(
    environ: dict[str, str], scratch: Path, files: int, size: int, call: str
) -> None:
    tree = scratch / "tree"
    tree.mkdir()
    for number in range(files):
        (tree / f"file{number}").write_bytes(b"%d" % number + bytes(size))
    done = waits(environ, scratch, tree)
    assert call in done
    assert ("sync_file_range" in done) == (size > 1 << 20)
    environ["NIX_STATE_DIR"] += "-2"
    environ["NIX_CONFIG"] += "fsync-store-paths = false\n"
    assert waits(environ, scratch, tree) == []
    assert "fdatasync" in (scratch / "log").read_text()  # what is known of a path is waited for all the same
