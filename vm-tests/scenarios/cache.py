"""Two machines: one offers its store as a binary cache, the other substitutes, only what it wants and each thing once.

Rows M4, M9 and M10 between machines; requests are counted by the server.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from guest import empty_disk, machine

if TYPE_CHECKING:
    from pathlib import Path

    from vmdriver.hardware import Hardware
    from vmdriver.machine import Machine

    server: Machine
    client: Machine

EXPRESSION = """
let
  tool = derivation {
    name = "tool";
    system = "x86_64-linux";
    builder = "/bin/sh";
    outputs = [ "out" "man" ];
    args = [ "-c" "echo program >$out; echo page >$man" ];
  };
  user = name: input: derivation {
    inherit name input;
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ "-c" "read -r line <$input; echo $name: $line >$out" ];
  };
in {
  inherit tool;
  inherit (tool) man out;
  page = user "page" tool.man;
  program = user "program" tool.out;
  again = user "again" tool.out;
  fresh = user "fresh" tool.out;
}
"""
CACHE = "http://10.0.0.2:8080"
COUNTED = "http://10.0.0.2:8081"


def machines(images: Path) -> dict[str, Hardware]:
    """Two machines with empty disks."""
    return {name: machine(empty_disk(images, name)) for name in ("client", "server")}


def test() -> None:
    """Build on one machine, fetch on the other."""
    start_all()
    with subtest("the server builds, serves its store, and has a cache of files whose requests are counted"):
        for each in (server, client):
            each.succeed(f"cat >/tmp/tool.nix <<'END'\n{EXPRESSION}\nEND\n")
            each.succeed("mkdir -p /etc/nix; printf 'substituters =\\nbuild-users-group =\\n' >/etc/nix/nix.conf")
        paths = server.succeed("nix-build --no-out-link /tmp/tool.nix -A man -A out").split()
        server.succeed("(verglas serve --listen 0.0.0.0:8080 >/tmp/serve.log 2>&1 </dev/null &)")
        server.succeed(f"verglas push file:///tmp/cache {' '.join(paths)} >&2")
        server.succeed("(httpd -f -vv -p 8081 -h /tmp/cache >/dev/null 2>/tmp/requests </dev/null &)")
        server.wait_for_open_port(8080)
        server.wait_for_open_port(8081)
        man, out = paths
    with subtest("the client fetches the one output it wants"):
        client.succeed("verglas mount --background")
        assert fetch("-A man", CACHE).split() == [man]
        assert client.succeed(f"cat {man}").strip() == "page"
        client.fail(f"nix-store --check-validity {out}")
    with subtest("who depends on one output gets that one; each question is asked once"):
        client.succeed("nix-store --gc >&2")
        client.fail(f"nix-store --check-validity {man}")
        requests()  # those of waiting for the port
        built = fetch("-A page", COUNTED, jobs=1)
        assert client.succeed(f"cat {built}").strip() == "page: page"
        asked = requests()
        wanted = {f"/{hash_part(man)}.narinfo": 1, "nar": 1}
        assert {key: asked[key] for key in wanted} == wanted, asked
        assert f"/{hash_part(out)}.narinfo" not in asked, asked
    with subtest("two that depend on the same output fetch it once"):
        built = fetch("-A program -A again", COUNTED, jobs=2)
        assert client.succeed(f"cat {' '.join(built.split())}").split() == ["program:", "program", "again:", "program"]
        asked = requests()
        assert asked["nar"] == 1, asked
    with subtest("an output that nobody needs is garbage, the other one stays"):
        client.succeed(f"nix-store --add-root /nix/kept --indirect -r {out} && nix-store --gc >&2")
        client.succeed(f"nix-store --check-validity {out}")
        client.fail(f"nix-store --check-validity {man}")
    with subtest("a cache that is gone costs a warning, not the build"):
        server.block()
        options = "--option connect-timeout 2 --option require-sigs false"
        fresh = f"nix-build --no-out-link /tmp/tool.nix --option substituters {CACHE} {options}"
        client.succeed(f"{fresh} -A fresh")  # never asked for
        client.succeed(f"{fresh} -A man --fallback")  # known to be there, and now it is not


def fetch(attributes: str, cache: str, jobs: int = 0) -> str:
    """Build with a cache and return the paths; with no jobs nothing may be built."""
    options = f"--option substituters {cache} --option require-sigs false --option max-jobs {jobs}"
    return client.succeed(f"nix-build --no-out-link /tmp/tool.nix {attributes} {options}").strip()


def requests() -> Counter[str]:
    """Return what the server was asked for since the last call, all NARs as 'nar'."""
    said = server.succeed("cat /tmp/requests; : >/tmp/requests")
    urls = re.findall(r"url:(\S+)", said)
    return Counter("nar" if url.startswith("/nar/") else url for url in urls)


def hash_part(path: str) -> str:
    """Return the part of a store path that names its narinfo."""
    return path.split("/")[3][:32]
