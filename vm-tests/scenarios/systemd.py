"""Debian's systemd as init, and our mount as its unit: order, crash, reload under readers, stop, reboot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guest import empty_disk, system

if TYPE_CHECKING:
    from pathlib import Path

    from vmdriver.hardware import Hardware
    from vmdriver.machine import Machine

    vm: Machine

TOOL = """
derivation {
  name = "tool";
  system = "x86_64-linux";
  builder = "/bin/sh";
  args = [ "-c" "mkdir -p $out/bin; echo 'echo started; exec sleep 100000' >$out/bin/tool" ];
}
"""
READER = """
[Unit]
Requires=verglas-store.target
After=verglas-store.target
[Service]
ExecStart=/bin/sh {path}/bin/tool
[Install]
WantedBy=multi-user.target
"""
MOUNT = "verglas-mount.service"
PID = f"systemctl show {MOUNT} --property=MainPID --value"


def machines(images: Path) -> dict[str, Hardware]:
    """One machine with an empty disk."""
    return {"vm": system(empty_disk(images, "vm"), append="systemd")}


def test() -> None:
    """Install the units, and lead them through their lives."""
    vm.start(allow_reboot=True)
    with subtest("systemd runs"):
        vm.wait_for_unit("multi-user.target")
        assert vm.succeed("cat /proc/1/comm").strip() == "systemd"
    with subtest("a service whose program lies in the store has it mounted before it starts"):
        vm.succeed(f"cat >/tmp/tool.nix <<'END'\n{TOOL}\nEND\n")
        path = vm.succeed("nix-build /tmp/tool.nix -o /nix/tool --option build-users-group ''").strip()
        vm.succeed("verglas umount || true")
        vm.succeed("verglas mount --install-units system >&2")
        vm.succeed(f"cat >/etc/systemd/system/reader.service <<'END'\n{READER.format(path=path)}\nEND\n")
        vm.succeed("systemctl daemon-reload && systemctl enable verglas-mount verglas-store.target reader >&2")
        vm.start_job("reader")
        vm.wait_for_unit("reader")
        vm.require_unit_state(MOUNT)
        vm.require_unit_state("verglas-store.target")
        started = [int(vm.get_unit_property(unit, "ActiveEnterTimestampMonotonic")) for unit in (MOUNT, "reader")]
        assert started == sorted(started), started
        assert vm.get_unit_info(MOUNT)["MainPID"] == vm.succeed("cat /run/verglas/mount.pid").strip()
    with subtest("after kill -9 of the mount's process it is mounted again"):
        before = vm.succeed(PID).strip()
        vm.succeed(f"kill -9 {before}")
        vm.wait_until_succeeds(f"test $({PID}) != {before} && test $({PID}) != 0 && cat {path}/bin/tool", timeout=300)
        vm.wait_for_unit(MOUNT)
    with subtest("a reload puts a new process in place, and who reads goes on"):
        vm.succeed(
            f"exec 9<{path}/bin/tool; before=$({PID}); systemctl reload {MOUNT}; "
            f"test $({PID}) != $before; grep started <&9 && cat {path}/bin/tool"
        )
        vm.require_unit_state(MOUNT)
    with subtest("stopping ends the mount, and with it who needs it; starting brings it back"):
        vm.succeed(f"systemctl stop {MOUNT}")
        assert vm.get_unit_property("reader", "ActiveState") == "inactive"
        vm.fail("grep ' /nix/store fuse' /proc/mounts")
        vm.succeed("systemctl start reader")
        vm.succeed(f"grep ' /nix/store fuse' /proc/mounts && cat {path}/bin/tool")
        vm.succeed(f"systemctl restart {MOUNT}")
        vm.require_unit_state(MOUNT)
    with subtest("after a reboot all of it is there"):
        vm.reboot()
        vm.wait_for_unit("reader")
        vm.require_unit_state("verglas-store.target")
        failed = vm.succeed("systemctl list-units --failed --no-legend --plain")
        assert "verglas" not in failed, failed
    with subtest("an orderly shutdown"):
        vm.shutdown()
