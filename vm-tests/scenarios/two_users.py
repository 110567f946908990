"""Two users and a daemon: builds run as neither of them, and Alice can't give Bob a trojan (row Y2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guest import empty_disk, machine

if TYPE_CHECKING:
    from pathlib import Path

    from vmdriver.hardware import Hardware
    from vmdriver.machine import Machine

    vm: Machine

FIREFOX = """
derivation {
  name = "firefox";
  system = "x86_64-linux";
  builder = "/bin/sh";
  args = [ "-c" "@payload@" ];
}
"""
HONEST = "until [ -e /gate/open ]; do :; done; echo honest >$out"  # it takes as long as the test wants
NIX_CONF = "substituters =\\nbuild-users-group = nixbld\\nextra-sandbox-paths = /gate\\n"

# What `nix-store --import` reads: a NAR, and whose path it is supposed to be (the format of nix-store --export).
FORGE = """
import struct, sys

def word(data):
    return struct.pack("<Q", len(data)) + data + bytes(-len(data) % 8)

def nar(content):
    parts = [b"nix-archive-1", b"(", b"type", b"regular", b"contents", content, b")"]
    return b"".join(map(word, parts))

path, content = sys.argv[1].encode(), sys.argv[2].encode()
stream = struct.pack("<Q", 1) + nar(content) + struct.pack("<Q", 0x4558494E) + word(path)
stream += struct.pack("<Q", 0) + word(b"") + struct.pack("<QQ", 0, 0)
sys.stdout.buffer.write(stream)
"""


def machines(images: Path) -> dict[str, Hardware]:
    """One machine with an empty disk."""
    return {"vm": machine(empty_disk(images, "vm"), vlans=())}


def test() -> None:
    """Build as Bob what Alice tries to have built otherwise."""
    with subtest("a daemon, and users who may not write the store"):
        vm.succeed(f"mkdir -p /etc/nix /gate && printf '{NIX_CONF}' >/etc/nix/nix.conf")
        vm.succeed("verglas mount --background; (nix-daemon >/dev/console 2>&1 </dev/null &)")
        vm.wait_for_open_unix_socket("/nix/var/nix/daemon-socket/socket")
        write("/tmp/bob.nix", FIREFOX.replace("@payload@", HONEST))
        write("/tmp/alice.nix", FIREFOX.replace("@payload@", "echo evil >$out"))
        write("/tmp/forge.py", FORGE)
        for user in ("alice", "bob"):
            as_user(user, "! touch /nix/store/x 2>/dev/null && ! touch /nix/var/nix/verglas/db/data.mdb 2>/dev/null")
    good = as_user("bob", "nix-instantiate /tmp/bob.nix").strip()
    out = as_user("bob", f"nix-store -q --outputs {good}").strip()
    with subtest("Alice knows the path of what Bob will build, and can't fill it beforehand"):
        refused = as_user("alice", f"python3 /tmp/forge.py {out} evil | nix-store --import 2>&1 && exit 3 || true")
        assert "signature" in refused, refused
        # her own derivation, made to claim his output path
        drv = as_user("alice", "nix-instantiate /tmp/alice.nix").strip()
        own = as_user("alice", f"nix-store -q --outputs {drv}").strip()
        forged = f"sed 's#{own}#{out}#g' {drv} >firefox.drv && ! cmp -s firefox.drv {drv}"
        claim = "path=$(nix-store --add firefox.drv) && nix-store -r $path"
        refused = as_user("alice", f"{forged} || exit 4; {{ {claim}; }} 2>&1 && exit 3 || true")
        assert "incorrect output" in refused, refused
        vm.fail(f"test -e {out}")
        vm.fail(f"nix-store --check-validity {out}")
    with subtest("nor while it is built, by a user of its own, nor by settings that weaken checks"):
        write("/tmp/build", f"NIX_REMOTE=daemon nix-store -r {good} >/tmp/bob.out 2>&1; touch /tmp/bob.done")
        vm.execute("su bob -c 'sh /tmp/build'", check_output=False)
        vm.wait_until_succeeds("ps -o user,args | grep '^nixbld.*until'", timeout=300)
        weak = "--option require-sigs false --option sandbox false --option build-users-group ''"
        as_user("alice", f"python3 /tmp/forge.py {out} evil | nix-store {weak} --import 2>&1 && exit 3 || true")
        vm.succeed("touch /gate/open")
        vm.wait_for_file("/tmp/bob.done")
        vm.succeed("cat /tmp/bob.out >&2")
    with subtest("Bob has the honest one"):
        assert as_user("bob", f"cat {out}").strip() == "honest"
        assert vm.succeed(f"stat -c '%u %a' {out}").split() == ["0", "444"]
    with subtest("Alice can't remove what Bob keeps"):
        as_user("bob", f"nix-store --add-root /home/bob/firefox --indirect -r {out} >/dev/null")
        as_user("alice", f"! nix-store --delete {out} 2>/dev/null")
        as_user("alice", "nix-store --gc >/dev/null 2>&1 || true")
        assert as_user("bob", "cat /home/bob/firefox").startswith("honest")


def write(path: str, text: str) -> None:
    """Write a file that everybody may read."""
    vm.succeed(f"cat >{path} <<'END'\n{text}\nEND\nchmod 644 {path}")


def as_user(user: str, command: str) -> str:
    """Run a command as an ordinary user who talks to the daemon, and return what it writes."""
    write("/tmp/command", f"cd; export NIX_REMOTE=daemon; {command}")
    return vm.succeed(f"su {user} -c 'sh /tmp/command'")
