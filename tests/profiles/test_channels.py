"""Channels: the list, updates from archives on this machine, generations; the same paths as real nix-channel."""

from __future__ import annotations

import http.server
import os
import subprocess
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from profiles.channels import (
    BadChannelError,
    effective_url,
    name_for,
    parse_list,
    print_list,
    read_list,
    subscribe,
)
from tests.conftest import BIN

if TYPE_CHECKING:
    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix


def test_list_is_lines_of_url_and_name() -> None:
    text = "https://x/a-unstable/// nixpkgs\n\n# https://no/no no\n  https://y/b\nfile:///c c extra\n"
    channels = parse_list(text)
    assert channels == {"nixpkgs": "https://x/a-unstable", "b": "https://y/b", "c": "file:///c"}
    assert print_list(channels) == "https://y/b b\nfile:///c c\nhttps://x/a-unstable nixpkgs\n"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://nixos.org/channels/nixpkgs-unstable", "nixpkgs"),
        ("https://x/nixos-stable/", "nixos"),
        ("https://x/nixos-21.05", "nixos-21.05"),
    ],
)
def test_names_that_follow_from_urls(url: str, name: str) -> None:
    assert name_for(url) == name


@pytest.mark.parametrize(("url", "name"), [("ftp://x", "x"), ("x", "x"), ("http://x", "a/b"), ("http://x", ".a")])
def test_unusable_channels_are_refused(scratch: Path, url: str, name: str) -> None:
    with pytest.raises(BadChannelError):
        subscribe(str(scratch / "list"), url, name)
    assert read_list(str(scratch / "list")) == {}


class Redirecting(http.server.SimpleHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/releases/1.2/")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_redirects_are_followed_once_for_the_whole_channel() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), partial(Redirecting)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        assert effective_url(f"{base}/channel") == f"{base}/releases/1.2"
        server.shutdown()
        thread.join()
    assert effective_url("file:///nowhere") == "file:///nowhere"


@pytest.fixture
def channel(scratch: Path) -> str:
    """The URL of a channel with one package."""
    write_channel(scratch, "1")
    return f"file://{scratch}/chan-1.2"


def write_channel(scratch: Path, version: str) -> None:
    sources = scratch / "nixexprs"
    sources.mkdir(exist_ok=True)
    (sources / "default.nix").write_text(
        f'{{ foo = derivation {{ name = "foo-{version}"; system = "x"; builder = "y"; }}; }}'
    )
    (scratch / "chan-1.2").mkdir(exist_ok=True)
    options = ["--sort=name", "--mtime=@1", "--owner=0", "--group=0"]
    subprocess.run(
        ["/bin/tar", *options, "-cJf", scratch / "chan-1.2/nixexprs.tar.xz", "-C", scratch, "nixexprs"], check=True
    )


@pytest.fixture(autouse=True)
def _unmount(environ: dict[str, str], scratch: Path):  # type: ignore[no-untyped-def]
    yield
    if (scratch / "state" / "verglas").exists():
        subprocess.run([BIN / "verglas", "umount"], env=environ, cwd=scratch, check=False, capture_output=True)


@pytest.mark.slow
@pytest.mark.fuse
def test_a_life(run: Runner, scratch: Path, environ: dict[str, str], channel: str) -> None:
    run("nix-channel", "--add", channel, "c")
    assert run("nix-channel", "--list").stdout == f"c {channel}\n"
    run("nix-channel", "--update")
    assert run("nix-env", "-qaP").stdout == "c.foo  foo-1\n"
    search_path = f"{environ['HOME']}/.nix-defexpr/channels"
    found = run("nix-instantiate", "--eval", "-E", "<c>", NIX_PATH=search_path).stdout
    assert found == f"{search_path}/c\n"

    write_channel(scratch, "2")
    run("nix-channel", "--update", "c")
    assert run("nix-env", "-qaP").stdout == "c.foo  foo-2\n"
    run("nix-channel", "--rollback")
    assert run("nix-env", "-qaP").stdout == "c.foo  foo-1\n"
    assert len(run("nix-channel", "--list-generations").stdout.splitlines()) == 2
    run("nix-channel", "--rollback", "2")
    assert run("nix-env", "-qaP").stdout == "c.foo  foo-2\n"

    run("nix-channel", "--add", f"{channel}/nixexprs.tar.xz", "direct")
    run("verglas", "umount")  # what is kept is found where nobody sees the store, as is usual for ordinary users
    run("nix-channel", "--update", "direct")
    assert run("nix-env", "-qaP").stdout == "c.foo       foo-2\ndirect.foo  foo-2\n"
    failed = run("nix-channel", "--update", "nope", status=1)
    assert failed.stderr == "error: there is no channel 'nope'; there are c, direct\n"
    run("nix-channel", "--remove", "c")
    assert run("nix-env", "-qaP").stdout == "direct.foo  foo-2\n"
    (scratch / "chan-1.2" / "nixexprs.tar.xz").unlink()
    before = run("nix-channel", "--list-generations").stdout
    run("nix-channel", "--update", status=1)
    assert run("nix-channel", "--list-generations").stdout == before


@pytest.mark.slow
@pytest.mark.fuse
@pytest.mark.oracle
@pytest.mark.root
def test_same_path_as_real_nix_channel(
    run: Runner, real_nix: RealNix, scratch: Path, environ: dict[str, str], channel: str
) -> None:
    run("nix-channel", "--add", f"{channel}/nixexprs.tar.xz", "c")
    run("nix-channel", "--update")
    env = {name: value for name, value in real_nix.env.items() if name != "NIX_REMOTE"} | {
        "PATH": "/usr/bin:/bin",
        "NIX_CONFIG": "build-users-group =\nsubstituters =\nsandbox = false\n",
    }
    bind = 'mount --bind "$0" "$1" && shift && nix-channel --add "$1" c && nix-channel --update'
    words = ["/usr/bin/unshare", "-m", "/bin/sh", "-c", bind, str(real_nix.physical_store), real_nix.store_dir]
    os.makedirs(real_nix.store_dir, exist_ok=True)
    subprocess.run([*words, f"{channel}/nixexprs.tar.xz"], env=env, check=True, capture_output=True)
    profiles = "profiles/per-user/root/channels-1-link"
    theirs = os.readlink(f"{real_nix.env['NIX_STATE_DIR']}/{profiles}")
    assert os.readlink(f"{environ['NIX_STATE_DIR']}/{profiles}") == theirs
