"""Boot a system from our store, in our mount; switch to another generation, reboot, and choose one in the boot menu."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guest import system, system_disk

if TYPE_CHECKING:
    from pathlib import Path

    from vmdriver.hardware import Hardware
    from vmdriver.machine import Machine

    vm: Machine

COMMON = '{ ... }: { networking.hostName = "%s"; services.web = { script = "exec httpd -f -p 80 -h /etc"; }; %s }'
OLD = COMMON % ("old", "")
NEW = COMMON % ("new", 'services.extra = { script = "exec sleep 100000"; };')


def machines(images: Path) -> dict[str, Hardware]:
    """One machine with two generations, the second of which is the current one."""
    return {"vm": system(system_disk(images, "vm", [OLD, NEW]), append="bootmenu")}


def test() -> None:
    """Boot the current generation, switch back by hand, then by the menu."""
    with subtest("the boot menu waits, and return boots the current generation"):
        vm.start(allow_reboot=True)
        vm.wait_for_console_text("boot menu", timeout=300)
        vm.send_console("\n")
        vm.wait_for_unit("web")
        assert vm.succeed("hostname").strip() == "new"
        vm.wait_for_unit("extra")
        vm.wait_for_open_port(80)
    with subtest("the store is our mount, and read-only"):
        assert "fuse.verglas" in vm.succeed("grep ' /nix/store ' /proc/mounts")
        vm.fail("touch /nix/store/x")
        vm.succeed("readlink -f /run/current-system | grep ^/nix/store/")
    with subtest("switching to the other generation changes what runs"):
        vm.succeed("/nix/var/nix/profiles/system-1-link/bin/switch-to-configuration switch")
        assert vm.succeed("hostname").strip() == "old"
        vm.fail("/run/current-system/sw/bin/systemctl is-active extra")
        vm.wait_for_unit("web")
    with subtest("the boot menu boots the first generation"):
        vm.succeed("sync")
        vm.reboot()
        vm.wait_for_console_text("boot menu", timeout=300)
        vm.send_console("1\n")
        vm.wait_for_unit("web")
        assert vm.succeed("hostname").strip() == "old"
    with subtest("an orderly shutdown"):
        vm.shutdown()
