"""A machine that has nothing: a signed cache over HTTP, a lazy mount, and a program that a profile points to."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import BIN
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner

pytestmark = [pytest.mark.slow, pytest.mark.fuse]

EXPRESSION = """
let mk = name: script: derivation {
  inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ]; PATH = "/bin:/usr/bin";
};
words = mk "words" "mkdir -p $out/share; echo hello from afar >$out/share/words";
in mk "speak" ''
  mkdir -p $out/bin
  printf '#!/bin/sh\\nread -r words <${words}/share/words; echo "$words" "$1"\\n' >$out/bin/speak
  chmod +x $out/bin/speak; ln -s speak $out/bin/say
''
"""
BUILD_ONLY = "sandbox = false\nsubstituters =\nbuild-users-group =\nauto-mount = false\n"


@pytest.mark.parametrize("transport", ["kernel", "pyfuse3"])
def test_a_program_of_a_profile_simply_starts(
    run: Runner, environ: dict[str, str], scratch: Path, transport: str
) -> None:
    secret = run("nix", "key", "generate-secret", "--key-name", "afar-1").stdout
    public = run("nix", "key", "convert-secret-to-public", stdin=secret).stdout
    (scratch / "secret").write_text(secret)
    (scratch / "default.nix").write_text(EXPRESSION)
    elsewhere = {"NIX_STATE_DIR": f"{scratch}/elsewhere"}
    speak = run("nix-build", "--no-out-link", NIX_CONFIG=BUILD_ONLY, **elsewhere).stdout.strip()
    run("verglas", "umount", "--lazy", **elsewhere)
    (scratch / "profile").symlink_to(speak)
    command = [BIN / "verglas", "serve", "--listen", "127.0.0.1:0", "--sign-with", scratch / "secret"]
    with subprocess.Popen(command, env=environ | elsewhere, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        url = server.stderr.readline().split()[-1]
        here = {"NIX_CONFIG": f"substituters = {url}\ntrusted-public-keys = {public}\nbuild-users-group =\n"}
        try:
            run("verglas", "mount", "--background", "--lazy", "--transport", transport, **here)
            assert os.listdir(environ["NIX_STORE_DIR"]) == []
            for program in ("speak", "say"):
                done = subprocess.run(
                    [scratch / "profile/bin" / program, program], capture_output=True, text=True, check=True
                )
                assert done.stdout == f"hello from afar {program}\n"
            wait_until(lambda: run("nix-store", "--check-validity", speak, status=None).returncode == 0)
            references = run("nix-store", "-q", "--references", speak).stdout.split()
            assert [path.rpartition("-")[2] for path in references] == ["words"]
            assert run("nix-store", "--verify", "--check-contents").returncode == 0
        finally:
            run("verglas", "umount", "--lazy")
            server.terminate()
