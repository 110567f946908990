"""Floating outputs over the worker protocol: real Nix's clients at our daemon, our commands at the real daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from storefs.errors import StoreError
from storefs.formats.realisation import Realisation, parse_drv_output
from storefs.formats.store_path import StoreDir
from storefs.protocol.worker_values import ClientOptions
from storefs.stores.remote import RemoteStore
from storefs.stores.remote_connection import connect_unix
from tests.daemon_process import DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix

pytestmark = [pytest.mark.oracle, pytest.mark.root, pytest.mark.fuse, pytest.mark.slow]

PACKAGES = """
let
  make = name: text: more: derivation ({
    inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-ec" text ];
  } // more);
  floating = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
in rec {
  root = make "root" "echo $out >$out; echo dev $out >$dev" (floating // { outputs = [ "out" "dev" ]; });
  dependent = make "dependent" "echo ${root} ${root.dev} >$out" floating;
  ordinary = make "ordinary" "echo ${dependent} >$out" { };
}
"""
FEATURE = ("--option", "experimental-features", "nix-command ca-derivations")
SETTINGS = "experimental-features = nix-command ca-derivations\nsandbox-paths = /bin/sh=/bin/busybox\n"
ATTRIBUTES = ("root.dev", "dependent", "ordinary")


@pytest.fixture
def file(scratch: Path) -> str:
    (scratch / "packages.nix").write_text(PACKAGES)
    return str(scratch / "packages.nix")


def build(file: str) -> list[str]:
    selected = [word for attribute in ATTRIBUTES for word in ("-A", attribute)]
    return ["nix-build", file, "--no-out-link", *selected, *FEATURE]


def test_real_clients_build_and_copy_through_our_daemon(
    environ: dict[str, str], real_nix: RealNix, scratch: Path, file: str
) -> None:
    info = ["nix", "realisation", "info", "--json", "-f", file, *ATTRIBUTES, *FEATURE]
    with DaemonProcess(environ, SETTINGS) as daemon:
        made = daemon.real(*build(file))
        sandbox = ("--option", "sandbox-paths", "/bin/sh=/bin/busybox")
        assert made == real_nix.run(*build(file), *sandbox).decode().strip()
        assert daemon.real(*info) == real_nix.line(*info)
        # To a cache, and back from it, which registers every output with our daemon once more.
        daemon.real("nix", "copy", "--to", f"file://{scratch}/cache", "-f", file, *ATTRIBUTES, *FEATURE)
        real_nix.run("nix", "copy", "--to", f"file://{scratch}/theirs", "-f", file, *ATTRIBUTES, *FEATURE)
        ours, theirs = (
            {f.name: f.read_text() for f in (scratch / each / "realisations").iterdir()} for each in ("cache", "theirs")
        )
        assert ours == theirs
        copy = ("nix", "copy", "--no-check-sigs", "--from", f"file://{scratch}/cache", "-f", file, *ATTRIBUTES)
        daemon.real(*copy, *FEATURE)
        assert daemon.real(*info) == real_nix.line(*info)


@pytest.fixture
def real_daemon(real_nix: RealNix) -> Iterator[str]:
    """The socket of a running real daemon with the feature on."""
    with real_nix.daemon(SETTINGS) as path:
        yield path


def test_our_commands_build_at_a_real_daemon(run: Runner, real_nix: RealNix, real_daemon: str, file: str) -> None:
    remote = {"NIX_REMOTE": f"unix://{real_daemon}"}
    made = run(*build(file), **remote).stdout
    assert made == real_nix.run(*build(file)).decode()
    info = ("nix", "realisation", "info", "--json", "-f", file, *ATTRIBUTES, *FEATURE)
    assert run(*info, **remote).stdout == real_nix.run(*info).decode()


@pytest.mark.parametrize("version", [34, 30])
def test_realisations_are_told_in_both_shapes(
    run: Runner, real_nix: RealNix, real_daemon: str, file: str, version: int
) -> None:
    (path, *_) = run(*build(file), NIX_REMOTE=f"unix://{real_daemon}").stdout.split()
    directory = StoreDir(real_nix.store_dir)
    options = ClientOptions()
    store = RemoteStore("daemon", directory, lambda: connect_unix(real_daemon), options, version=version)
    other = parse_drv_output("sha256:" + "ab" * 32 + "!out")
    assert store.realisation(other) is None
    store.register_realisations([Realisation(other, directory.parse(path))])
    found = store.realisation(other)
    assert found is not None
    assert found.path == directory.parse(path)
    store.close()


def test_who_is_not_trusted_must_show_a_signature(environ: dict[str, str], run: Runner, file: str) -> None:
    settings = SETTINGS + "trusted-users =\n"
    with DaemonProcess(environ, settings) as daemon:
        made = daemon.client("nix-build", *build(file)[1:]).stdout.split()
        store = daemon.store()
        directory = store.directory
        other = parse_drv_output("sha256:" + "ab" * 32 + "!out")
        if store.trusted:
            pytest.skip("root is trusted whatever the settings say")
        with pytest.raises(StoreError, match="lacks a valid signature"):
            store.register_realisations([Realisation(other, directory.parse(made[0]))])
        store.close()
