"""The same nix-env command for ours and for real Nix 2.8, whose output and profiles must be equal."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix

OPTIONS = ("--option", "sandbox-paths", "/bin/sh=/bin/busybox /bin/busybox")

EXPRESSIONS = """
let
  mk = name: attrs: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" (attrs.script or "mkdir -p $out/bin; echo ${name} > $out/bin/${(builtins.parseDrvName name).name}") ];
    PATH = "/bin:/usr/bin";
  } // removeAttrs attrs [ "meta" "script" "system" ]) // { meta = attrs.meta or { }; };
in
{
  a1 = mk "alpha-1.0" {
    meta = { description = "the first <alpha> & \\"co\\""; priority = 4; license = [ "x" "y" ]; };
  };
  a2 = mk "alpha-2.0" { meta.maintainers = { me = "x"; n = 1; }; };
  Beta = mk "Beta-0.9pre1" { meta = { homepage = "http://x"; broken = false; weight = 1.5; f = x: x; }; };
  beta = mk "beta-0.9" { };
  multi = mk "multi-1" {
    outputs = [ "out" "man" "dev" ];
    script = "mkdir -p $out/bin $man/man $dev/include; echo > $out/bin/multi; echo > $man/man/m; echo > $dev/include/i";
    meta.outputsToInstall = [ "out" "man" ];
  };
  clash = mk "clash-1" { script = "mkdir -p $out/bin; echo > $out/bin/alpha"; };
  foreign = mk "foreign-1" { } // { system = "powerpc-linux"; };
  broken = assert false; mk "broken-1" { };
  nested = { recurseForDerivations = true; deep = mk "deep-3" { meta.description = "deep\\none"; }; };
  hidden = { never = mk "never-1" { }; };
  noversion = mk "noversion" { };
}
"""


class Both:
    """Runs the same nix-env command with both programs, each on its own store with the same logical directory.

    Real nix-env reads a profile through the file system, so its store has to lie where its paths say: in a mount
    namespace it is bound there, over whatever is there of ours.
    """

    def __init__(self, run: Runner, real: RealNix, scratch: Path) -> None:
        self.run = run
        self.real = real
        self.source = scratch / "x.nix"
        self.source.write_text(EXPRESSIONS)
        self.ours = str(scratch / "ours" / "profile")
        self.theirs = str(scratch / "theirs" / "profile")
        for profile in (self.ours, self.theirs):
            os.makedirs(os.path.dirname(profile))
        os.makedirs(real.store_dir, exist_ok=True)

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """Return what both printed on standard output, which must be equal."""
        words = ["-f", str(self.source), "-p"]
        theirs = self._run_real("nix-env", *words, self.theirs, *arguments)
        ours = self.run("nix-env", *words, self.ours, *arguments, *OPTIONS, status=None)
        assert theirs.returncode == status, theirs.stderr.decode()
        assert ours.returncode == status, ours.stderr
        assert ours.stdout == theirs.stdout.decode().replace(self.theirs, self.ours)
        return ours.stdout

    def _run_real(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        real = self.real
        env = {name: value for name, value in real.env.items() if name != "NIX_REMOTE"}
        env["NIX_CONFIG"] = "build-users-group =\nsubstituters =\nsandbox = false\n"
        bind = 'mount --bind "$0" "$1" && shift && exec "$@"'
        env["PATH"] = "/usr/bin:/bin"
        words = [
            "/usr/bin/unshare",
            "-m",
            "/bin/sh",
            "-c",
            bind,
            str(real.physical_store),
            real.store_dir,
            str(real.bin / program),
        ]
        return subprocess.run([*words, *arguments], env=env, capture_output=True, check=False)

    def links(self) -> list[str]:
        """Return the store paths of all generations, which must be equal."""
        found = []
        for profile in (self.ours, self.theirs):
            folder = os.path.dirname(profile)
            names = sorted(name for name in os.listdir(folder) if name.endswith("-link"))
            found.append([(name, os.readlink(f"{folder}/{name}")) for name in names])
            found[-1].append(("profile", os.readlink(profile)))
        assert found[0] == found[1]
        return [target for _, target in found[0]]
