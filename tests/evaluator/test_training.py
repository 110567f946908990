"""What the core is trained with when it is compiled is Nix, and evaluates to the end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.oracle.real_nix import RealNix, needs_real_nix

TRAINING = Path(__file__).parents[2] / "training" / "training.py"


def train(folder: Path) -> str:
    done = subprocess.run([sys.executable, "-I", TRAINING, folder], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow
def test_training_evaluates_packages_and_a_configuration(scratch):
    printed = train(scratch)
    assert printed.count("-system-1.0.drv") == 3  # without the parse cache, filling it, and from it
    assert printed.count("-package-") > 3 * 200


@needs_real_nix
@pytest.mark.slow
@pytest.mark.oracle
def test_real_nix_evaluates_the_same(scratch):
    printed = train(scratch)
    real = RealNix(scratch / "real-nix", "/nix/store")
    expression = f"import {scratch}/question.nix {{ count = 240; }}"
    answer = real.line("nix-instantiate", "--eval", "--strict", "--readonly-mode", "-E", expression)
    assert printed.startswith(answer)
