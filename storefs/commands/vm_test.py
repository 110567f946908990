"""`verglas vm-test`: run tests in virtual machines. Only starts the driver, which knows nothing of us."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from storefs.errors import EnvironmentUnfitError, UsageError
from storefs.options import Command, Option

if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas vm-test",
    "Run tests in virtual machines, written for the NixOS test driver's Python API",
    operands="FILE...",
    options=(
        Option("--out", takes=("DIRECTORY",), help="where reports and pictures go (default: vm-test-results)"),
        Option("--jobs", takes=("NUMBER",), help="how many tests run at the same time, each logging into a file"),
        Option("--hide-consoles", help="leave the machines' consoles out of the log"),
        Option("--interactive", help="a Python prompt with the machines instead of running the test"),
    ),
    description="""
        A test is a Python file with a function machines(images), which returns the hardware of each machine by name,
        and a function test() or a string test_script, in which the machines are variables. A function
        tear_down(images) is called at the end; a number global_timeout replaces the hour that a test may take. QEMU and
        a kernel come from the distribution; KVM is used where it works, and noticed where it hangs.
    """,
    examples=(("verglas vm-test vm-tests/scenarios/boot.py", "boot a system from our store, in our mount"),),
)


def run(invocation: Invocation) -> int:
    """Replace this process by the driver."""
    if not invocation.operands:
        raise UsageError("verglas vm-test needs at least one FILE")
    environ = invocation.config.environment()
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    folder = f"{root}/vm-tests"
    if os.path.isdir(f"{folder}/vmdriver"):
        environ["PYTHONPATH"] = ":".join(filter(None, [folder, environ.get("PYTHONPATH")]))
    elif find_spec("vmdriver") is None:
        raise EnvironmentUnfitError("the driver 'vmdriver' is missing: run this from a checkout of Verglas")
    words = [sys.executable, "-m", "vmdriver", *invocation.operands]
    out = invocation.value("--out")
    words += ["--out", out] if out else []
    jobs = invocation.value("--jobs", "1") or "1"
    if not jobs.isdigit():
        raise UsageError(f"'--jobs' takes a number, not '{jobs}'")
    words += ["--jobs", jobs]
    words += ["--quiet"] if invocation.flag("--hide-consoles") else []
    words += ["--interactive"] if invocation.flag("--interactive") else []
    os.execve(sys.executable, words, environ)
