"""What the daemon imports before its clients come: their processes import nothing, whatever they are asked for."""

from __future__ import annotations

import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.daemon_process import BIN, DaemonProcess

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.fuse, pytest.mark.slow]

EXPRESSION = (
    'derivation { name = "x"; system = builtins.currentSystem; builder = "/bin/sh"; args = ["-c" "echo >$out"]; }'
)


def test_a_client_s_process_imports_nothing(environ: dict[str, str], scratch: Path) -> None:
    scratch.chmod(0o755)
    (scratch / "source").write_text("x")
    daemon = DaemonProcess(environ, "sandbox = false\n")
    daemon.daemon_env["PYTHONPROFILEIMPORTTIME"] = "1"
    with daemon:
        with closing(daemon.store()) as store:
            assert list(store.all_valid_paths()) == []  # is answered when the daemon has imported everything
        begun = len(daemon.log)
        for command in (
            ["nix-store", "--add", str(scratch / "source")],
            ["nix-build", "--no-out-link", "-E", EXPRESSION],
            ["nix-store", "--gc"],
        ):
            subprocess.run([BIN / command[0], *command[1:]], env=daemon.env, check=True, capture_output=True)
        said = daemon.log[begun:]
    assert "accepted connection" in said
    assert [line for line in said.splitlines() if line.startswith("import time")] == []
