"""Runs the real Nix of the machine against scratch directories, as the oracle that our answers are compared with.

Never touches the host's store: every directory that Nix knows is moved below one given folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NIX_STORE = shutil.which("nix-store", path="/usr/bin:/nix/var/nix/profiles/default/bin")

needs_real_nix = pytest.mark.skipif(NIX_STORE is None, reason="real Nix is not installed")


class RealNix:
    """One scratch store of real Nix below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = Path(NIX_STORE or "/usr/bin/nix-store").parent
        self.store_dir = str(folder / "store")
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "NIX_STORE_DIR": self.store_dir,
            "NIX_STATE_DIR": str(folder / "var"),
            "NIX_LOG_DIR": str(folder / "log"),
            "NIX_CONF_DIR": str(folder / "etc"),
            "NIX_LOCALSTATE_DIR": str(folder / "var"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "NIX_CONFIG": "sandbox = false\nbuild-users-group =\nsubstituters =\nexperimental-features = nix-command",
            "_NIX_TEST_NO_SANDBOX": "1",
        }
        for name in ("store", "home", "var", "log", "etc"):
            (folder / name).mkdir(parents=True, exist_ok=True)

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
