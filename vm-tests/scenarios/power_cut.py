"""Cut the power at random moments of additions, substitutions, builds, profile switches and collections.

The guest's memory is lost, and so is a random choice of what it wrote to the disk and did not flush: the drive has a
volatile write cache. Then the store has to verify, every path that was acknowledged has to be there, and the profile
has to work, in the generation that was acknowledged last or in a later one. The machine works on with that disk.

VM_POWER_CUTS says how many cuts (30; `./dev vm-test --quick` makes 5), VM_SEED which random moments.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from typing import TYPE_CHECKING

from guest import BIN, empty_disk, image_disk, machine

if TYPE_CHECKING:
    from pathlib import Path

    from vmdriver.hardware import Hardware
    from vmdriver.machine import Machine

    vm: Machine

CUTS = int(os.environ.get("VM_POWER_CUTS", "30"))
OPERATIONS = ("add", "substitute", "build", "apply", "collect")
CHOICE = random.Random(int(os.environ.get("VM_SEED", "7")))

# Repeats one operation. A line on the console, which the host reads as it comes, acknowledges what was done.
WORK = r"""
cd /nix/work
options="--option substituters file:///cache --option require-sigs false"
add() {
  head -c 300000 /dev/urandom >/tmp/added-$1
  path=$(nix-store --add /tmp/added-$1) && echo "ACK $path"
}
substitute() {
  path=$(nix-store $options --add-root /nix/work/roots/$1 --indirect -r $(sed -n "$(($1 % 40 + 1))p" /cache/paths)) &&
    echo "ACK $(readlink $path)"
}
build() {
  path=$(nix-build --option substituters "" tool.nix --argstr name built-$1 -o /nix/work/roots/$1) &&
    echo "ACK $path/bin/built-$1-8"
}
apply() {
  sed "s/@name@/applied-$1/" profile.yaml >/tmp/profile.yaml && cp tool.nix /tmp &&
    verglas --option substituters "" profile apply -f /tmp/profile.yaml -p /nix/var/nix/profiles/tools &&
    echo "ACK $(readlink /nix/var/nix/profiles/tools)"
}
collect() {
  for number in 1 2 3 4 5 6; do add "$1$number"; done
  echo "COLLECT"
  nix-store --gc && echo "ACK collected"
}
number=$2
while :; do
  number=$((number + 1))
  $1 $number || echo "FAILED $1"
done
"""

TOOL = """
{ name ? "tool" }:
derivation {
  inherit name;
  system = "x86_64-linux";
  builder = "/bin/sh";
  args = [ "-c" "mkdir -p $out/bin; for n in 1 2 3 4 5 6 7 8; do echo $n-$out >$out/bin/$name-$n; done" ];
  PATH = "/bin:/usr/bin";
}
"""

PROFILE = """
packages:
  - path: ./tool.nix
links:
  name: /@name@
"""

CHECK = r"""
verglas mount --background
nix-store --verify --check-contents 2>&1
if grep -q /nix /tmp/alive; then
  nix-store --check-validity $(cut -d/ -f1-4 /tmp/alive)
  cat $(cat /tmp/alive) >/dev/null
fi
if [ -L /nix/var/nix/profiles/tools ]; then
  grep -q . /nix/var/nix/profiles/tools/bin/* # every link leads somewhere
  readlink /nix/var/nix/profiles/tools
fi
"""


def machines(images: Path) -> dict[str, Hardware]:
    """One machine with an empty disk that has a write cache, and a binary cache on another disk."""
    cache = image_disk(images, "cache", binary_cache(images))
    return {"vm": machine(empty_disk(images, "vm", write_cache=CHOICE), cache, vlans=())}


def binary_cache(images: Path) -> Path:
    """Fill a binary cache on the host, by our own programs; `paths` in it lists what there is."""
    root, cache, files = images / "store", images / "cache", images / "files"
    files.mkdir()
    for number in range(40):
        (files / f"file-{number}").write_bytes(CHOICE.randbytes(200_000))
    environ = {"PATH": os.environ["PATH"], "HOME": str(images), "NIX_CONFIG": "auto-mount = false"}
    added = [BIN / "nix-store", "--store", root, "--add", *sorted(files.iterdir())]
    paths = subprocess.run(added, env=environ, check=True, capture_output=True, text=True).stdout
    pushed = [BIN / "verglas", "push", "--store", root, f"file://{cache}", *paths.split()]
    subprocess.run(pushed, env=environ, check=True, capture_output=True)
    (cache / "paths").write_text(paths)
    return cache


def test() -> None:
    """Cut, look, and work on."""
    alive: set[str] = set()
    generation = 0
    roots = prepare()
    for number in range(CUTS):
        operation = OPERATIONS[number % len(OPERATIONS)]
        with subtest(f"power cut {number + 1}: {operation}"):
            begun = time.monotonic()
            vm.execute(f"sh /tmp/work.sh {operation} {1000 * number} >/dev/console 2>&1", check_output=False)
            vm.wait_for_console_text("^(ACK|FAILED)", timeout=300)
            time.sleep(CHOICE.random() * (time.monotonic() - begun))
            vm.crash()
            said = vm.get_console_log()
            assert "FAILED" not in said, said
            acknowledged = [line.split()[1] for line in said.splitlines() if line.startswith("ACK ")]
            files = {path for path in acknowledged if path.startswith("/nix/store/")}
            if "COLLECT" in said:
                # A link that is a root is not promised to survive a cut; what has one now may not be collected.
                alive = {file for file in alive if store_path(file) in roots}
            else:
                alive |= files
            generation = max([generation, *(int(link.split("-")[1]) for link in acknowledged if "-link" in link)])
            roots = prepare()
            vm.succeed("cat >/tmp/alive <<'EOF'\n" + "\n".join(sorted(alive)) + "\nEOF\n")
            found = vm.succeed(CHECK, timeout=300).split()
            if generation:
                link = found[-1]
                assert int(link.split("-")[1]) >= generation, f"{link}, but generation {generation} was acknowledged"


def prepare() -> set[str]:
    """Have the machine run, with what the work needs; returns the paths that roots keep."""
    vm.succeed("mkdir -p /cache /nix/work/roots && mount -t erofs -o ro /dev/vdc /cache")
    for path, text in (("/tmp/work.sh", WORK), ("/nix/work/tool.nix", TOOL), ("/nix/work/profile.yaml", PROFILE)):
        vm.succeed(f"cat >{path} <<'EOF'\n{text}\nEOF\n")
    return set(vm.succeed("cd /nix/work/roots; for root in *; do readlink $root || true; done").split())


def store_path(file: str) -> str:
    """Return the store path that a file belongs to."""
    return "/".join(file.split("/")[:4])
