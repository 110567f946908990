"""The systemd units: complete, accepted by systemd, and installed where they were wanted."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.fuse.units import units_for

if TYPE_CHECKING:
    from storefs.config import Config
    from tests.conftest import Runner


def test_no_mark_is_left_and_paths_are_quoted(config: Config) -> None:
    units = units_for(config, "/opt/with blank/verglas", config.store_dir)
    assert set(units) == {"verglas-mount.service", "verglas-store.target"}
    for text in units.values():
        assert re.search("@[A-Z]+@", text) is None
    service = units["verglas-mount.service"]
    assert 'ExecStart="/opt/with blank/verglas" mount' in service
    assert f"NIX_STATE_DIR={config.state_dir}" in service


@pytest.mark.slow
def test_they_mount_as_the_options_say(run: Runner, scratch: Path) -> None:
    options = ("--lazy", "--transport", "pyfuse3", "/a place")
    run("verglas", "mount", *options, "--install-units", scratch / "units")
    service = (scratch / "units/verglas-mount.service").read_text()
    for verb in ("ExecStart", "ExecReload"):
        line = next(line for line in service.splitlines() if line.startswith(verb))
        assert line.endswith(' --pid-file /run/verglas/mount.pid --lazy --transport pyfuse3 "/a place"')
    assert 'umount --lazy "/a place"\n' in service


@pytest.mark.slow
def test_they_mount_with_the_default_whatever_was_mounted_before(run: Runner, scratch: Path) -> None:
    run("verglas", "mount", "--install-units", scratch / "units")
    service = (scratch / "units/verglas-mount.service").read_text()
    assert service.count(" --pid-file /run/verglas/mount.pid --transport auto ") == 2


@pytest.mark.slow
def test_systemd_accepts_them(run: Runner, scratch: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    written = run("verglas", "mount", "--install-units", scratch / "units").stdout.split()
    assert sorted(Path(path).name for path in written) == ["verglas-mount.service", "verglas-store.target"]
    done = subprocess.run(["systemd-analyze", "verify", *written], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "verglas" in line]
    assert complaints == []
