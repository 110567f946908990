"""Build a new system inside the machine, switch to it, apply a profile, reboot, and roll both back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guest import ROOT, system, system_disk

if TYPE_CHECKING:
    from pathlib import Path

    from vmdriver.hardware import Hardware
    from vmdriver.machine import Machine

    vm: Machine

OLD = '{ ... }: { networking.hostName = "old"; services.web = { script = "exec httpd -f -p 80 -h /etc"; }; }'
NEW = """
{ ... }: {
  networking.hostName = "new";
  services.web = { script = "exec httpd -f -p 80 -h /etc"; };
  services.extra = { script = "exec sleep 100000"; };
}
"""
TOOL = """
derivation {
  name = "tool-@version@";
  system = "x86_64-linux";
  builder = "/bin/sh";
  args = [ "-c" "mkdir -p $out/bin; echo 'echo @version@' >$out/bin/tool; chmod +x $out/bin/tool" ];
}
"""
PROFILE = "packages:\n  - path: ./tool.nix\n"
TOOLS = "/nix/var/nix/profiles/tools"


def machines(images: Path) -> dict[str, Hardware]:
    """One machine with one generation, to which it adds others itself."""
    return {"vm": system(system_disk(images, "vm", [OLD]), append="bootmenu")}


def test() -> None:
    """Build, switch, reboot, go back."""
    vm.start(allow_reboot=True)
    with subtest("a new system is built inside the machine"):
        vm.wait_for_unit("web")
        vm.copy_from_host(str(ROOT / "vm-tests/system"), "/tmp/system")
        vm.succeed(f"cat >/tmp/new.nix <<'END'\n{NEW}\nEND\n")
        built = "nix-build /tmp/system --no-out-link --arg configuration /tmp/new.nix --option substituters ''"
        path = vm.succeed(
            f"{built} --option build-users-group '' 2>/tmp/log || {{ tail /tmp/log >&2; exit 1; }}"
        ).strip()
        vm.succeed(f"nix-env -p /nix/var/nix/profiles/system --set {path}")
        vm.succeed(f"{path}/bin/switch-to-configuration switch >&2")
        assert vm.succeed("hostname").strip() == "new"
        vm.wait_for_unit("extra")
    with subtest("profiles are applied"):
        for version in ("1.0", "2.0"):
            apply(version)
            assert vm.succeed(f"sh {TOOLS}/bin/tool").strip() == version
    with subtest("after a reboot both are still there"):
        vm.succeed("sync")
        vm.reboot()
        vm.wait_for_console_text("generations: 1 2$", timeout=300)
        vm.wait_for_console_text("boot menu", timeout=300)
        vm.send_console("\n")
        vm.wait_for_unit("extra")
        assert vm.succeed("hostname").strip() == "new"
        assert vm.succeed(f"sh {TOOLS}/bin/tool").strip() == "2.0"
        vm.succeed("nix-store --verify --check-contents")
    with subtest("the profile is rolled back"):
        vm.succeed(f"verglas profile rollback -p {TOOLS}")
        assert vm.succeed(f"sh {TOOLS}/bin/tool").strip() == "1.0"
    with subtest("the boot menu rolls the system back, and its generations survive a collection"):
        vm.succeed("sync")
        vm.reboot()
        vm.wait_for_console_text("boot menu", timeout=300)
        vm.send_console("1\n")
        vm.wait_for_unit("web")
        assert vm.succeed("hostname").strip() == "old"
        assert "inactive" in vm.systemctl("is-active extra")[1]
        vm.succeed("nix-store --gc >&2")
        assert vm.succeed(f"sh {TOOLS}-2-link/bin/tool").strip() == "2.0"
        vm.succeed(f"{path}/bin/switch-to-configuration test >&2")
        assert vm.succeed("hostname").strip() == "new"


def apply(version: str) -> None:
    """Make a version of the tool what the profile has."""
    vm.succeed(f"cat >/tmp/tool.nix <<'END'\n{TOOL.replace('@version@', version)}\nEND\n")
    vm.succeed(f"printf '{PROFILE}' >/tmp/profile.yaml")
    options = "--option substituters '' --option build-users-group ''"
    vm.succeed(f"verglas profile apply -f /tmp/profile.yaml -p {TOOLS} {options} >&2")
