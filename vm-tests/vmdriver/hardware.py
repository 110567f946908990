"""What a machine is made of, and where its parts are found."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vmdriver.errors import MissingProgramError

if TYPE_CHECKING:
    import random


@dataclass(frozen=True, slots=True)
class Disk:
    """A drive. `fmt` is 'raw' or 'qcow2'.

    With `write_cache` (raw only) the drive has a volatile cache, as real ones have: when the power is cut, a random
    choice of what the guest wrote and did not flush is lost.
    """

    path: Path
    fmt: str = "qcow2"
    readonly: bool = False
    write_cache: random.Random | None = None


@dataclass(frozen=True, slots=True)
class Resumed:
    """A machine that goes on from the state of one that ran, which `Machine.save_state` wrote, instead of booting.

    Args:
        state: the file.
        disks: how many of the machine's first disks it had. The others, shares and networks are plugged in now.
        command: what the agent runs first, for the machine to find them and to know what time it is.
    """

    state: Path
    disks: int
    command: str = ""


@dataclass(slots=True)
class Hardware:
    """What a machine is made of. Sizes are in MiB."""

    kernel: Path
    initrd: Path
    append: str = ""
    memory: int = 256
    cpus: int = 1
    disks: list[Disk] = field(default_factory=list)
    shares: dict[str, Path] = field(default_factory=dict)  # 9p: mount tag -> host directory, read-only
    virtiofs: dict[str, Path] = field(default_factory=dict)  # the same by virtiofs; not for machines that are `resumed`
    vlans: list[int] = field(default_factory=lambda: [1])
    graphics: bool = False
    resumed: Resumed | None = None
    extra: list[str] = field(default_factory=list)


def find_qemu() -> str:
    """Return the QEMU program for this processor."""
    program = shutil.which(f"qemu-system-{os.uname().machine}")
    if program is None:
        raise MissingProgramError("QEMU", "qemu-system-x86")
    return program


@functools.cache
def kvm_works(kernel: Path) -> bool:
    """Return whether KVM really runs a guest: a /dev/kvm can be there and hang one for ever (nested machines).

    Boots `kernel` without a root file system; its panic ends it at once where KVM works. Blocks for at most 8 s, once
    after the host was booted: the answer is kept in the user's cache. VMDRIVER_KVM=0 or 1 answers it beforehand.
    """
    told = os.environ.get("VMDRIVER_KVM")
    if told:
        return told == "1"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / f"vmdriver/kvm-{boot}"
    if known.exists():
        return known.read_text() == "works"
    works = _boots_with_kvm(kernel)
    with contextlib.suppress(OSError):
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text("works" if works else "hangs")
    return works


def _boots_with_kvm(kernel: Path) -> bool:
    command = [find_qemu(), "-accel", "kvm", "-m", "128", "-kernel", str(kernel), "-display", "none", "-no-reboot"]
    command += ["-nodefaults", "-append", "panic=-1 quiet"]
    try:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                return process.wait(8) == 0
            except subprocess.TimeoutExpired:
                return False
            finally:
                process.kill()
    except OSError:
        return False
