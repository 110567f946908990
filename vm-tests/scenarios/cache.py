"""Two machines: one serves its store as a binary cache, the other substitutes from it, and only what it wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guest import empty_disk, machine

if TYPE_CHECKING:
    from pathlib import Path

    from vmdriver.machine import Machine
    from vmdriver.qemu import Hardware

    server: Machine
    client: Machine

EXPRESSION = """
derivation {
  name = "tool";
  system = "x86_64-linux";
  builder = "/bin/sh";
  outputs = [ "out" "man" ];
  args = [ "-c" "echo program > $out; echo page > $man" ];
}
"""


def machines(images: Path) -> dict[str, Hardware]:
    """Two machines with empty disks."""
    return {name: machine(images, name, empty_disk(images, name)) for name in ("client", "server")}


def test() -> None:
    """Build on one machine, fetch one output on the other."""
    start_all()
    with subtest("the server builds and serves"):
        server.succeed(f"cat >/tmp/tool.nix <<'EOF'\n{EXPRESSION}\nEOF\n")
        server.succeed("nix-build --no-out-link /tmp/tool.nix -A man -A out")
        server.succeed("(verglas serve --listen 0.0.0.0:8080 >/tmp/serve.log 2>&1 </dev/null &)")
        server.wait_for_open_port(8080)
    with subtest("the client fetches the one output it wants"):
        client.succeed(f"cat >/tmp/tool.nix <<'EOF'\n{EXPRESSION}\nEOF\n")
        address = "http://10.0.0.2:8080"
        options = f"--option substituters {address} --option require-sigs false --option max-jobs 0"
        path = client.succeed(f"nix-build --no-out-link /tmp/tool.nix -A man {options}").strip()
        client.succeed("verglas mount --background")
        assert client.succeed(f"cat {path}").strip() == "page"
        out = client.succeed("nix-store -q --outputs $(nix-instantiate /tmp/tool.nix) | grep -v man").strip()
        client.fail(f"nix-store --check-validity {out}")
    with subtest("a cache that is gone costs a warning, not the build"):
        server.block()
        client.succeed(
            f"nix-build --no-out-link /tmp/tool.nix -A out --option substituters {address} --option connect-timeout 2"
        )
