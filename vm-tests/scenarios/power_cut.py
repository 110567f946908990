"""Cut the power while paths are added and collected: what was acknowledged is there, and the store verifies.

QEMU is killed, so the guest's page cache is lost with everything that was not synced: what an ext4 disk with a
write-back cache looks like after a power cut.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

from guest import empty_disk, machine

if TYPE_CHECKING:
    from pathlib import Path

    from vmdriver.machine import Machine
    from vmdriver.qemu import Hardware

    vm: Machine

CUTS = int(os.environ.get("VM_POWER_CUTS", "3"))

# Adds files for ever; each path that was printed has been acknowledged, and the console survives the machine.
WORK = r"""
mkdir -p /nix/work && cd /nix/work
(set +e
i=0
while :; do
  i=$((i + 1))
  name=file-$(cut -c1-8 /proc/sys/kernel/random/uuid)
  head -c 30000 /dev/urandom >$name
  path=$(nix-store --add $name) && echo "ACK $path" >/dev/console
  [ $((i % 5)) = 0 ] && nix-store --gc >/dev/null 2>&1 && echo "GC" >/dev/console
  rm $name
done) >/dev/null 2>&1 </dev/null &
"""


def machines(images: Path) -> dict[str, Hardware]:
    """One machine with an empty disk."""
    return {"vm": machine(images, "vm", empty_disk(images, "vm"))}


def test() -> None:
    """Cut the power at random moments."""
    source = random.Random(7)
    for number in range(CUTS):
        with subtest(f"power cut {number + 1}"):
            vm.start()
            vm.succeed("mount | grep ' /nix ' && verglas gc >/dev/null 2>&1 || true")
            before = len(vm.get_console_log())
            vm.succeed(WORK)
            for _ in range(source.randrange(2, 6)):
                vm.wait_for_console_text("ACK /nix/store/", timeout=120)
            vm.sleep(source.choice([1, 2]))
            vm.crash()
            said = vm.get_console_log()[before:]
            acknowledged = [line.split()[-1] for line in said.splitlines() if line.startswith("ACK /nix/store/")]
            collected = "GC" in said.split()
            vm.start()
            vm.succeed("verglas mount --background")
            vm.succeed("nix-store --verify --check-contents 2>&1")
            if not collected:
                vm.succeed("nix-store --check-validity " + " ".join(acknowledged))
                vm.succeed("cat " + " ".join(acknowledged) + " >/dev/null")
            vm.crash()
