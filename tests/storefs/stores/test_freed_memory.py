"""How often the kernel has to hand out memory that a process had a moment ago."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from storefs.stores.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
piece = b"x" * (1 << 20)
for turn in range(50):
    if turn == 5:
        begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [b"".join([piece, piece, piece]) for _ in range(8)]
    held.clear()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun)
"""


def faults(choice: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, choice], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked")
def test_what_was_freed_is_used_again() -> None:
    assert faults("keep") * 4 < faults("give back")
