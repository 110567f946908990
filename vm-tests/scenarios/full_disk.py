"""Fill the disk to the last byte: additions fail cleanly, readers go on, the collector starts and frees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guest import empty_disk, machine

if TYPE_CHECKING:
    from pathlib import Path

    from vmdriver.hardware import Hardware
    from vmdriver.machine import Machine

    vm: Machine


def machines(images: Path) -> dict[str, Hardware]:
    """One machine with a small empty disk."""
    return {"vm": machine(empty_disk(images, "vm", "96M"))}


def test() -> None:
    """Fill, read, fail, collect, add."""
    vm.succeed("mkdir -p /tmp/in && head -c 20000000 /dev/urandom >/tmp/in/big && echo kept >/tmp/in/small")
    vm.succeed("verglas mount --background")
    kept = vm.succeed("nix-store --add /tmp/in/small").strip()
    vm.succeed(f"nix-store --add-root /root/kept --indirect -r {kept}")
    garbage = vm.succeed("nix-store --add /tmp/in/big").strip()
    with subtest("no byte is left"):
        for size in ("1M", "4k", "1k"):
            vm.execute(f"dd if=/dev/zero of=/nix/filler-{size} bs={size}")
        assert vm.succeed("df -k /nix | tail -1 | awk '{print $4}'").strip() == "0"
    with subtest("an addition fails in one line, and readers go on"):
        vm.succeed("head -c 3000000 /dev/urandom >/tmp/in/other")
        vm.fail("nix-store --add /tmp/in/other")
        assert vm.succeed(f"cat {kept}").strip() == "kept"
    with subtest("the collector frees what is dead"):
        vm.succeed("nix-store --gc >&2")
        vm.fail(f"test -e {garbage}")
        assert vm.succeed(f"cat {kept}").strip() == "kept"
        vm.succeed("nix-store --add /tmp/in/other")
        vm.succeed("nix-store --verify --check-contents 2>&1")
