"""A client that builds nothing itself, and two machines with one slot each: rows W3 and H6.

A build that requires a feature goes to the machine that has it; two builds run at the same time, one on each machine; a
machine that can't be reached is passed over; and closures are copied both ways, compressed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guest import empty_disk, machine

if TYPE_CHECKING:
    from pathlib import Path

    from vmdriver.hardware import Hardware
    from vmdriver.machine import Machine

    client: Machine
    worker1: Machine
    worker2: Machine

# Each machine says who it is in a file that builds can see.
EXPRESSION = """
{ name, features ? [ ], needs ? [ ], wait ? "" }:
derivation {
  inherit name needs;
  system = "x86_64-linux";
  builder = "/bin/sh";
  requiredSystemFeatures = features;
  args = [ "-c" "read -r host </etc/who; echo built on $host >$out; ${wait}" ];
}
"""
MACHINES = """
ssh://root@10.0.0.2 x86_64-linux - 1 1 plain
ssh-ng://root@10.0.0.3 x86_64-linux - 1 2 plain,big
"""
NIX_CONF = """
substituters =
build-users-group = nixbld
extra-sandbox-paths = /etc/who
system-features = {features}
"""
FEATURES = {"client": "", "worker1": "plain", "worker2": "plain big"}
BUILD = "nix-build /tmp/job.nix --no-out-link --option max-jobs 0 --option builders @/etc/nix/machines"


def machines(images: Path) -> dict[str, Hardware]:
    """Three machines with empty disks."""
    return {name: machine(empty_disk(images, name)) for name in ("client", "worker1", "worker2")}


def test() -> None:
    """Forward builds, with and without features, and copy closures."""
    start_all()
    with subtest("machines that can be reached by ssh, and one that knows them"):
        client.succeed("mkdir -p /root/.ssh /etc/nix && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519")
        client.succeed("printf 'Host *\\n  StrictHostKeyChecking accept-new\\n' >/root/.ssh/config")
        key = client.succeed("cat /root/.ssh/id_ed25519.pub").strip()
        for each in (client, worker1, worker2):
            conf = NIX_CONF.format(features=FEATURES[each.name])
            each.succeed(
                f"mkdir -p /etc/nix; echo {each.name} >/etc/who; cat >/etc/nix/nix.conf <<'END'\n{conf}\nEND\n"
            )
        for worker in (worker1, worker2):
            worker.succeed(f"mkdir -p /root/.ssh /etc/dropbear && echo '{key}' >/root/.ssh/authorized_keys")
            worker.succeed("chmod -R go= /root; echo /bin/sh >/etc/shells; dropbear -R -E -s 2>/dev/console")
            worker.wait_for_open_port(22)
        client.succeed(
            f"cat >/etc/nix/machines <<'END'\n{MACHINES}\nEND\ncat >/tmp/job.nix <<'END'\n{EXPRESSION}\nEND\n"
        )
        client.succeed("verglas mount --background")
    with subtest("a build without wishes goes to one of the machines, and its result is here"):
        path = client.succeed(f"{BUILD} --argstr name simple").strip()
        assert client.succeed(f"cat {path}").startswith("built on worker"), "built in the wrong place"
    with subtest("a required feature chooses the machine"):
        path = client.succeed(f"{BUILD} --argstr name featured --arg features '[ \"big\" ]'").strip()
        assert client.succeed(f"cat {path}").strip() == "built on worker2"
        worker2.succeed(f"nix-store --check-validity {path}")
        worker1.fail(f"nix-store --check-validity {path}")
    with subtest("a feature that nobody has is refused, here as there"):
        refused = f"{BUILD.replace('max-jobs 0', 'max-jobs 1')} --argstr name refused --arg features '[ \"kvm\" ]'"
        message = client.fail(f"{refused} 2>&1")
        assert "with features {kvm} is required" in message, message
    with subtest("two builds run at the same time, one on each machine"):
        expression = '[ (f { name = "left"; %s }) (f { name = "right"; %s }) ]'
        wait = 'wait = "n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done";'
        both = expression % (wait, wait)
        paths = client.succeed(
            f"{BUILD.replace('/tmp/job.nix', '')} -E 'let f = import /tmp/job.nix; in {both}'"
        ).split()
        assert sorted(client.succeed("cat " + " ".join(paths)).split()[2::3]) == ["worker1", "worker2"]
    with subtest("a machine that can't be reached is passed over"):
        worker2.block()
        ssh = "NIX_SSHOPTS='-o ConnectTimeout=3'"
        path = client.succeed(f"{ssh} {BUILD} --argstr name blocked 2>/tmp/log || {{ cat /tmp/log; exit 1; }}").strip()
        assert client.succeed(f"cat {path}").strip() == "built on worker1"
        worker2.unblock()
    with subtest("closures are copied to a machine and from it, compressed"):
        path = client.succeed("echo carried >/tmp/carried; nix-store --add /tmp/carried").strip()
        client.succeed(f"nix-copy-closure --gzip --to root@10.0.0.2 {path}")
        worker1.succeed(f"nix-store --check-validity {path}")
        client.succeed(f"nix-store --delete {path} && ! nix-store --check-validity {path} 2>/dev/null")
        client.succeed(f"nix-copy-closure --gzip --from root@10.0.0.2 {path}")
        assert client.succeed(f"cat {path}").strip() == "carried"
