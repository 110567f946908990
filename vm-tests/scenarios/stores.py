"""One system, four ways to /nix/store: the host's own store by 9p and virtiofs, and images of the closure, two kinds.

(The fifth, our mount inside the machine, is what the other scenarios have.) Each boots, runs the system's service,
and shows the same tree, byte for byte and mode for mode, as the mount on the host does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from guest import BIN, ext4_disk, image_disk, mount, squashfs_disk, system, system_disk, umount
from vmdriver.virtiofs import why_no_virtiofs

if TYPE_CHECKING:
    from vmdriver.hardware import Disk, Hardware

SYSTEM = '{ ... }: { networking.hostName = "shared"; services.web = { script = "exec httpd -f -p 80 -h /etc"; }; }'

# Prints a digest of trees: names, modes, owners, times and contents. Arguments: where the store is, then its paths.
DIGEST = r"""
import hashlib, os, stat, sys

digest = hashlib.sha256()

def look(file, name):
    status = os.lstat(file)
    digest.update(f"{name} {status.st_mode:o} {status.st_uid} {status.st_gid} {int(status.st_mtime)}\\n".encode())
    if stat.S_ISLNK(status.st_mode):
        digest.update(os.readlink(file).encode())
    elif stat.S_ISREG(status.st_mode):
        digest.update(open(file, "rb").read())
    else:
        for each in sorted(os.listdir(file)):
            look(f"{file}/{each}", f"{name}/{each}")

for path in sorted(sys.argv[2:]):
    look(f"{sys.argv[1]}/{os.path.basename(path)}", os.path.basename(path))
print(digest.hexdigest())
"""
CLOSURE: list[str] = []  # what `machines` finds out for `test`
DIGESTS: list[str] = []


def machines(images: Path) -> dict[str, Hardware]:
    """Build a system on the host, mount its store there, and make images of its closure."""
    system_disk(images, "host", [SYSTEM])
    root = images / "host.root"
    mount(root)
    profile = root / "nix/var/nix/profiles/system"
    top = os.readlink(profile.with_name(os.readlink(profile)))
    question = [BIN / "nix-store", "--store", root, "-qR", top]
    CLOSURE.extend(subprocess.run(question, capture_output=True, text=True, check=True).stdout.split())
    DIGESTS.append(
        subprocess.run(
            [sys.executable, "-c", DIGEST, root / "nix/store", *CLOSURE], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    tree = images / "closure"
    tree.mkdir()
    for path in CLOSURE:
        subprocess.run(["cp", "-a", root / path.lstrip("/"), tree], check=True)
    small = images / "profile"
    shutil.copytree(root / "nix/var/nix/profiles", small / "var/nix/profiles", symlinks=True)
    (small / "store").mkdir()
    more: dict[str, list[Disk]] = {
        "9p": [],
        "erofs": [image_disk(images, "closure", tree)],
        "squashfs": [squashfs_disk(images, "closure", tree)],
    }
    if not why_no_virtiofs():
        more["virtiofs"] = []
    shares = {"store": root / "nix/store"}
    return {
        f"on_{kind}": system(
            ext4_disk(images, kind, small, "64M"), *disks, append=f"store={kind}", shares=None if disks else shares
        )
        for kind, disks in more.items()
    }


def tear_down(images: Path) -> None:
    """End the mount on the host."""
    umount(images / "host.root")


def test() -> None:
    """Boot each, and compare."""
    if why := why_no_virtiofs():
        log.log(f"virtiofs is left out: {why}")
    start_all()
    for vm in driver.machines:
        kind = vm.name.removeprefix("on_")
        with subtest(f"a system boots from a store on {kind}"):
            vm.wait_for_unit("web")
            assert vm.succeed("hostname").strip() == "shared"
            vm.wait_for_open_port(80)
            vm.succeed(f"grep ' /nix/store {kind} ro' /proc/mounts")
            vm.fail("touch /nix/store/x")
        with subtest(f"its tree is the host's, on {kind}"):
            vm.succeed(f"cat >/tmp/digest.py <<'END'\n{DIGEST}\nEND\n")
            found = vm.succeed(f"/image/usr/bin/python3 /tmp/digest.py /nix/store {' '.join(CLOSURE)}").strip()
            assert found == DIGESTS[0], f"{kind}: {found}, but the host has {DIGESTS[0]}"
            vm.crash()
