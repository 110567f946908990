"""The oracle itself: real Nix answers in the scratch store, builds there, and keeps away from the machine's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.oracle.real_nix import RealNix

pytestmark = pytest.mark.oracle


def test_adds_to_the_scratch_store(real_nix: RealNix, scratch: Path) -> None:
    source = scratch / "source"
    source.write_text("content\n")
    path = real_nix.line("nix-store", "--add", str(source))
    assert path.startswith(f"{real_nix.store_dir}/")
    assert real_nix.physical(path).read_text() == "content\n"
    assert not Path(real_nix.store_dir).exists()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting /proc in a user namespace is refused in many containers")
def test_builds_in_a_diverted_store(real_nix: RealNix, scratch: Path) -> None:
    source = scratch / "default.nix"
    source.write_text(
        'derivation { name = "x"; system = builtins.currentSystem;'
        ' builder = "/bin/sh"; args = ["-c" "echo hi >$out"]; }'
    )
    options = ("--no-out-link", "--option", "sandbox-paths", "/bin/sh=/bin/busybox")
    path = real_nix.line("nix-build", str(source), *options)
    assert real_nix.physical(path).read_text() == "hi\n"
