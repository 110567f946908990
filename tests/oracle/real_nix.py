"""Real Nix 2.8 as an oracle: its commands on scratch directories, so that our answers can be compared with its own.

The machine's /nix is never touched: every directory that Nix knows is moved below one given folder. With a `store_dir`
of ours the store is what Nix calls diverted (`local?store=...&real=...`): files lie elsewhere than their paths say, and
both implementations can use the same logical store directory at once. A diverted store builds in the sandbox only.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.errors import StoreError
from storefs.stores.remote_connection import connect_unix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WANTED_VERSION = "2.8"
NIX_STORE = shutil.which("nix-store", path="/usr/bin:/nix/var/nix/profiles/default/bin")


@functools.cache
def why_no_real_nix() -> str | None:
    """Return why real Nix can't be asked here, None if it can."""
    if NIX_STORE is None:
        return "real Nix is not installed (Debian: apt-get install nix-bin)"
    with tempfile.TemporaryDirectory() as folder:  # even to say its version it looks for a daemon
        environ = {"NIX_STATE_DIR": folder, "NIX_STORE_DIR": folder, "NIX_CONF_DIR": folder, "HOME": folder}
        done = subprocess.run([NIX_STORE, "--version"], env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"real Nix does not start: {done.stderr.strip()}"
    version = done.stdout.split()[-1]
    if not version.startswith(WANTED_VERSION):
        return f"real Nix is {version} here, and our answers are compared with those of {WANTED_VERSION}"
    return None


needs_real_nix = pytest.mark.skipif(why_no_real_nix() is not None, reason=str(why_no_real_nix()))


class RealNix:
    """One scratch store of real Nix below `folder`.

    Args:
        folder: where its state and its physical store go; made if it is missing.
        store_dir: the logical store directory, if it is not the physical one.

    Attributes:
        store_dir: the logical store directory.
        env: the environment of its programs.
    """

    def __init__(self, folder: Path, store_dir: str | None = None) -> None:
        self.folder = folder
        self.bin = Path(NIX_STORE or "/usr/bin/nix-store").parent
        self.physical_store = folder / "store"
        self.store_dir = store_dir or str(self.physical_store)
        settings = "build-users-group =\nsubstituters =\nexperimental-features = nix-command\n"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "LC_ALL": "C.UTF-8",
            "NIX_STORE_DIR": self.store_dir,
            "NIX_STATE_DIR": str(folder / "var"),
            "NIX_LOG_DIR": str(folder / "log"),
            "NIX_CONF_DIR": str(folder / "etc"),
            "NIX_LOCALSTATE_DIR": str(folder / "var"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "_NIX_TEST_NO_SANDBOX": "1",
            "NIX_CONFIG": settings + "sandbox = false\n",
        }
        if store_dir is not None:
            self.env["NIX_REMOTE"] = (
                f"local?store={store_dir}&real={self.physical_store}&state={folder}/var&log={folder}/log"
            )
            self.env["NIX_CONFIG"] = settings + "sandbox = true\nsandbox-fallback = false\n"
        for name in ("store", "home", "var", "log", "etc"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def physical(self, path: str) -> Path:
        """Return where the files of a store path lie."""
        return self.physical_store / os.path.relpath(path, self.store_dir)

    def popen(self, program: str, *args: str, **options: object) -> subprocess.Popen[bytes]:
        """Start one of Nix's programs; `env` adds to the environment."""
        env = {**self.env, **options.pop("env", {})}  # type: ignore[dict-item]
        return subprocess.Popen([str(self.bin / program), *args], env=env, **options)  # type: ignore[call-overload]

    def result(self, program: str, *args: str, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
        """Run one of Nix's programs to its end."""
        return subprocess.run(
            [str(self.bin / program), *args], env={**self.env, **env}, input=stdin, capture_output=True, check=False
        )

    def run(self, program: str, *args: str, stdin: bytes = b"", **env: str) -> bytes:
        """Run one of Nix's programs, which must succeed, and return what it printed."""
        done = self.result(program, *args, stdin=stdin, **env)
        assert done.returncode == 0, f"{program} {' '.join(args)}: {done.stderr.decode(errors='replace')}"
        return done.stdout

    def line(self, program: str, *args: str, **env: str) -> str:
        """Run one of Nix's programs and return the one line it printed."""
        return self.run(program, *args, **env).decode().rstrip("\n")

    @contextmanager
    def daemon(self, settings: str = "") -> Iterator[str]:
        """Run its daemon with more lines of nix.conf; gives the path of the socket, at which it listens."""
        self.run("nix-store", "--init")  # two connections that both find no database get in each other's way
        env = {"NIX_CONFIG": self.env["NIX_CONFIG"] + settings}
        process = self.popen("nix-daemon", env=env, stderr=subprocess.DEVNULL, start_new_session=True)
        path = f"{self.env['NIX_STATE_DIR']}/daemon-socket/socket"
        try:
            while True:  # it tells nobody when it listens; connecting is the only question that has an answer
                try:
                    connect_unix(path)[2]()
                    break
                except StoreError:
                    assert process.poll() is None
            yield path
        finally:
            process.kill()
            process.wait()

    def shell(self, words: Sequence[str]) -> bytes:
        """Run any command line that finds Nix's programs on its PATH, in `folder`; it must succeed."""
        env = {**self.env, "PATH": f"{self.bin}:{self.env['PATH']}"}
        done = subprocess.run(words, env=env, cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.decode(errors='replace')}"
        return done.stdout
