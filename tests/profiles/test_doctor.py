"""verglas doctor: it finds what is wrong, and says what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Runner

pytestmark = pytest.mark.slow


def test_finds_two_programs_and_an_unknown_profile(run: Runner, environ: dict[str, str], scratch: Path) -> None:
    for name in ("one", "two"):
        (scratch / name).mkdir()
        (scratch / name / "nix-env").write_text("#!/bin/sh\n")
        (scratch / name / "nix-env").chmod(0o755)
    os.symlink("nowhere", scratch / "profile")
    done = run("verglas", "doctor", status=2, PATH=f"{scratch}/one:{scratch}/two", NIX_PROFILE=f"{scratch}/profile")
    lines = done.stdout.splitlines()
    assert lines[0] == f"[FAIL] PATH contains several nix-env: {scratch}/one/nix-env, {scratch}/two/nix-env; leave one"
    assert lines[1].startswith(f"[FAIL] profile '{scratch}/profile' is unknown to the garbage collector")
    assert any(line.startswith("[PASS] there is no store yet") for line in lines)
    assert not (scratch / "state").exists()
    run("verglas", "ping")
    assert "[PASS] the store 'local' can be used" in run("verglas", "doctor", PATH="").stdout


def test_store_that_is_not_there(run: Runner, scratch: Path) -> None:
    done = run("nix", "doctor", "--store", f"unix://{scratch}/none", status=2, PATH="")
    assert "[FAIL] the store can't be used: " in done.stdout
    assert "[PASS] PATH contains only one nix-env" in done.stdout
    assert "[PASS] the profile is known to the garbage collector" in done.stdout
