"""Eight workers that add, build, substitute, keep, copy, collect, optimise and ask, all at once: no unexpected error.

VM_SOAK says for how many seconds (20); an hour of it is row W4.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from guest import empty_disk, machine

if TYPE_CHECKING:
    from pathlib import Path

    from vmdriver.hardware import Hardware
    from vmdriver.machine import Machine

    vm: Machine

SECONDS = int(os.environ.get("VM_SOAK", "20"))
global_timeout = 600 + 4 * SECONDS

# A worker does one thing until a file tells it to end; what it wrote is evidence. Garbage may go at any moment, so only
# what has a root is relied upon.
WORKER = r"""
worker=$1 number=0
cd /tmp
while [ ! -e /tmp/end ]; do
  number=$((number + 1))
  case $worker in
    add) head -c 5000 /dev/urandom >/tmp/added && nix-store --add /tmp/added >/dev/null ;;
    build) nix-build /tmp/job.nix --argstr name built-$number -o /nix/roots/built-$((number % 3)) >/dev/null &&
      grep -q built /nix/roots/built-$((number % 3)) ;;
    together) nix-build /tmp/many.nix --argstr name many-$number --no-out-link >/dev/null ;;
    root) nix-store --add-root /nix/roots/again-$((number % 4)) --indirect -r $(readlink /nix/roots/base) >/dev/null ;;
    copy) nix copy --to file:///tmp/cache /nix/roots/base >/dev/null ;;
    collect) nix-store --gc >/dev/null ;;
    optimise) nix-store --optimise >/dev/null ;;
    ask) nix-store -qR /nix/roots/base >/dev/null && nix path-info -rS /nix/roots/base >/dev/null &&
      nix-store --verify >/dev/null ;;
  esac 2>/tmp/log-$worker || { echo "FAILED $worker $number"; cat /tmp/log-$worker; }
done
echo "DONE $worker $number"
"""
JOB = """
{ name }:
derivation {
  inherit name;
  system = "x86_64-linux";
  builder = "/bin/sh";
  args = [ "-c" "echo built ${name} >$out" ];
}
"""
MANY = """
{ name }:
derivation {
  inherit name;
  system = "x86_64-linux";
  builder = "/bin/sh";
  args = [ "-c" "read -r line <$first; echo $line >$out; read -r line <$second; echo $line >>$out" ];
  first = import ./job.nix { name = "${name}-first"; };
  second = import ./job.nix { name = "${name}-second"; };
}
"""
WORKERS = ("add", "build", "together", "root", "copy", "collect", "optimise", "ask")


def machines(images: Path) -> dict[str, Hardware]:
    """One machine with an empty disk."""
    return {"vm": machine(empty_disk(images, "vm"), vlans=(), memory=768)}


def test() -> None:
    """Start all, wait, and look."""
    for path, text in (("/tmp/worker.sh", WORKER), ("/tmp/job.nix", JOB), ("/tmp/many.nix", MANY)):
        vm.succeed(f"cat >{path} <<'END'\n{text}\nEND\n")
    vm.succeed("mkdir -p /nix/roots /etc/nix && printf 'substituters =\\nbuild-users-group =\\n' >/etc/nix/nix.conf")
    vm.succeed("verglas mount --background && nix-build /tmp/job.nix --argstr name base -o /nix/roots/base")
    with subtest(f"eight workers for {SECONDS} seconds"):
        for worker in WORKERS:
            vm.execute(f"sh /tmp/worker.sh {worker} >/tmp/out-{worker} 2>&1", check_output=False)
        vm.sleep(SECONDS)
        vm.succeed("touch /tmp/end")
        for worker in WORKERS:
            vm.wait_until_succeeds(f"grep -q ^DONE /tmp/out-{worker}", timeout=300)
        said = vm.succeed("cat /tmp/out-*")
        assert "FAILED" not in said, said
        rounds = {line.split()[1]: int(line.split()[2]) for line in said.splitlines() if line.startswith("DONE")}
        assert set(rounds) == set(WORKERS) and min(rounds.values()) >= 1, rounds
        vm.log(f"rounds: {rounds}")
    with subtest("the store is sound afterwards"):
        vm.succeed("nix-store --verify --check-contents", "nix-store --gc", "grep -q base /nix/roots/base")
