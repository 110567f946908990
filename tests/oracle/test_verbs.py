"""What the verbs of `nix` and the older commands print, byte for byte as Nix 2.8 does."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

PACKAGES = """
let
  make = name: text: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    args = [ "-c" "mkdir -p $out/bin; echo ${name} >$out/bin/prog; ln -s bin/prog $out/l; ${text}" ];
  };
in rec {
  a = make "a-1.0" "";
  b = make "b-2.0" "echo ${a} >$out/ref" // { meta.description = "the b"; };
  c = make "c" "echo ${b} >$out/x; echo ${a} >$out/y";
}
"""

# C, A and B are the outputs.
COMMANDS = """
nix path-info C A B
nix path-info -rsSh -f FILE c
nix path-info -r --json -f FILE c
nix path-info --all
nix store ls -lR C
nix store ls --json -R C
nix store cat C/y
nix show-derivation -f FILE a
nix show-derivation -r C
nix eval -f FILE b.name
nix eval -f FILE b.meta --json
nix eval -f FILE --apply builtins.attrNames --json
nix build -f FILE c --no-link --json
nix log -f FILE a
nix store ping
nix store optimise
nix-store -q --tree C
nix-store -q --graph C
nix-store -q --requisites --include-outputs C
nix-store --dump-db
nix-env -f FILE -qaP --json
nix-env -f FILE -qas
nix-env -f FILE -qa --description
nix-instantiate --eval --strict --json FILE -A b.meta
nix-instantiate --eval --xml FILE -A b.meta
""".strip().splitlines()


def test_standard_output(run: Runner, real_nix: RealNix, scratch: Path) -> None:
    file = scratch / "packages.nix"
    file.write_text(PACKAGES)
    shell = " ".join(each for each in ("/bin", "/usr", "/lib", "/lib64") if os.path.exists(each))
    build = ("nix-build", str(file), "--no-out-link", "--option", "sandbox-paths", shell)
    outputs = run(*build).stdout.split()
    try:
        assert real_nix.run(*build).decode().split() == outputs
        places = {"FILE": str(file), **dict(zip("ABC", outputs, strict=True))}
        for line in COMMANDS:
            words = [re.sub(r"^(FILE|[ABC])(?=$|/)", lambda name: places[name[0]], word) for word in line.split()]
            ours, theirs = run(*words).stdout, real_nix.run(*words).decode()
            times = r'"registrationTime":[0-9]+'
            assert re.sub(times, "", ours) == re.sub(times, "", theirs), line
    finally:
        run("verglas", "umount", status=None)
