"""Binary caches in both directions between real Nix 2.8 and us: same paths, signatures valid, listings alike."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import BIN, Runner
from tests.http_server import HttpServer
from tests.oracle.real_nix import RealNix

pytestmark = [pytest.mark.oracle, pytest.mark.slow]


def closure(nix: RealNix, scratch: Path) -> str:
    """Add a small closure to real Nix's store and return its top: a derivation, its sources and an ordinary tree."""
    tree = scratch / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/x").write_text("#!/bin/sh\necho x\n")
    (tree / "bin/x").chmod(0o755)
    (tree / "link").symlink_to("bin/x")
    (tree / "ümlaut").write_bytes(bytes(range(256)) * 100)
    source = nix.line("nix-store", "--add", str(tree))
    expression = f"""
      derivation {{
        name = "top"; system = "x86_64-linux"; builder = "/bin/sh";
        src = builtins.storePath "{source}"; text = builtins.toFile "text" "some text";
      }}"""
    return nix.line("nix-instantiate", "-E", expression)


def key_pair(nix: RealNix, scratch: Path) -> str:
    """Make secret and public key files; return the public key."""
    nix.run("nix-store", "--generate-binary-cache-key", "k-1", str(scratch / "sk"), str(scratch / "pk"))
    return (scratch / "pk").read_text().strip()


@pytest.mark.parametrize("compression", ["xz", "bzip2", "none", "zstd", "br", "gzip"])
def test_we_read_what_real_nix_writes(real_nix: RealNix, scratch: Path, run: Runner, compression: str) -> None:
    top = closure(real_nix, scratch)
    public = key_pair(real_nix, scratch)
    cache = f"file://{scratch}/cache?secret-key={scratch}/sk&compression={compression}"
    real_nix.run("nix", "copy", "--derivation", "--to", cache, top)
    trusting = ["--option", "trusted-public-keys", public]
    run("verglas", "copy", "--from", f"file://{scratch}/cache", top, *trusting)
    expected = sorted(real_nix.run("nix-store", "-qR", top).decode().split())
    assert sorted(run("nix-store", "-qR", top).stdout.split()) == expected
    for path in expected:
        assert run("nix-store", "-q", "--hash", path).stdout == real_nix.run("nix-store", "-q", "--hash", path).decode()


def test_we_do_not_believe_real_nix_without_its_key(real_nix: RealNix, scratch: Path, run: Runner) -> None:
    top = closure(real_nix, scratch)
    # Sources and derivations vouch for themselves; so look at one whose name is not a hash of its contents.
    real_nix.run("nix", "copy", "--derivation", "--to", f"file://{scratch}/cache", top)
    (narinfo,) = (scratch / "cache").glob(f"{Path(top).name[:32]}.narinfo")
    lines = [line for line in narinfo.read_text().splitlines() if not line.startswith("CA:")]
    narinfo.write_text("\n".join(lines) + "\n")
    done = run("verglas", "copy", "--from", f"file://{scratch}/cache", top, status=1)
    assert "does not have a valid signature" in done.stderr
    run("verglas", "copy", "--no-check-sigs", "--from", f"file://{scratch}/cache", top)


@pytest.mark.parametrize("compression", ["xz", "bzip2", "zstd", "br", "none"])
def test_real_nix_reads_what_we_write(real_nix: RealNix, scratch: Path, run: Runner, compression: str) -> None:
    top = closure(real_nix, scratch)
    public = key_pair(real_nix, scratch)
    paths = real_nix.run("nix-store", "-qR", top).decode().split()
    exported = real_nix.run("nix-store", "--export", *paths)
    _import(exported, run, scratch)
    target = f"file://{scratch}/cache"
    run("verglas", "push", target, "--compression", compression, "--sign-with", scratch / "sk", top)
    assert "pushed 0 of" in run("verglas", "push", target, "--sign-with", scratch / "sk", top).stderr

    real_nix.run("nix", "copy", "--derivation", "--to", f"file://{scratch}/theirs?write-nar-listing=1", top)
    for theirs in (scratch / "theirs").glob("*.ls"):
        assert (scratch / "cache" / theirs.name).read_bytes() == theirs.read_bytes()

    fresh = RealNix(scratch / "fresh", real_nix.store_dir)
    trust = ("--option", "trusted-public-keys", public)
    fresh.run("nix", "copy", "--derivation", "--from", target, *trust, top)
    assert sorted(fresh.run("nix-store", "-qR", top).decode().split()) == sorted(paths)
    plain = [path for path in paths if not path.endswith(".drv")]
    fresh.run("nix", "store", "verify", "-n", "1", *trust, *plain)


def _import(exported: bytes, run: Runner, scratch: Path) -> None:
    file = scratch / "export"
    file.write_bytes(exported)
    run("nix-store", "--import", "--option", "require-sigs", "false", stdin=exported.decode("utf-8", "surrogateescape"))


@contextlib.contextmanager
def serving(environ: dict[str, str], *options: str) -> Iterator[str]:
    """Run `verglas serve` and give its URL."""
    server = subprocess.Popen(
        [BIN / "verglas", "serve", "--listen", "127.0.0.1:0", *options], env=environ, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        yield server.stderr.readline().split()[-1]
    finally:
        server.terminate()
        server.communicate()


def test_real_nix_substitutes_from_our_server(
    real_nix: RealNix, scratch: Path, run: Runner, environ: dict[str, str]
) -> None:
    top = closure(real_nix, scratch)
    public = key_pair(real_nix, scratch)
    paths = real_nix.run("nix-store", "-qR", top).decode().split()
    _import(real_nix.run("nix-store", "--export", *paths), run, scratch)
    plain = [path for path in paths if not path.endswith(".drv")]  # realising a derivation would build it
    for options in ((), ("--compression", "zstd")):
        with serving(environ, "--sign-with", str(scratch / "sk"), *options) as url:
            fresh = RealNix(scratch / f"fresh{len(options)}", real_nix.store_dir)
            fresh.run(
                "nix-store", "-r", *plain, "--option", "substituters", url, "--option", "substitute", "true",
                "--option", "trusted-public-keys", public,
            )  # fmt: skip
            fresh.run("nix-store", "--check-validity", *plain)


def test_our_server_answers_two_hundred_clients_at_once(
    real_nix: RealNix, scratch: Path, run: Runner, environ: dict[str, str]
) -> None:
    from storefs.http_client.client import HttpClient
    from storefs.http_client.messages import Exchange, Url

    source = scratch / "file"
    source.write_bytes(bytes(200_000))
    path = run("nix-store", "--add", source).stdout.strip()
    with serving(environ) as url:
        client = HttpClient(connections=200)
        key = Path(path).name[:32]
        statuses = []

        def done(exchange: Exchange) -> list[Exchange]:
            statuses.append(exchange.status)
            return []

        client.many([Exchange(Url(f"{url}/{key}.narinfo")) for _ in range(1000)], done)
        assert statuses == [200] * 1000
        line = next(each for each in client.get(f"{url}/{key}.narinfo").body.decode().splitlines() if "URL: " in each)
        nar = f"{url}/{line.removeprefix('URL: ')}"
        whole = client.get(nar).body
        assert client.get(nar, headers={"range": "bytes=1000-"}).body == whole[1000:]
        assert client.head(nar).headers["content-length"] == str(len(whole))
        client.many(
            [Exchange(Url(f"{url}/{name}")) for name in ("", "nar/", "../etc/passwd", "x" * 32 + ".narinfo")], done
        )
        assert statuses[1000:] == [404] * 4
        client.close()


def test_push_over_http_and_fetch_again(scratch: Path, run: Runner) -> None:
    source = scratch / "file"
    source.write_text("over http")
    path = run("nix-store", "--add", source).stdout.strip()
    with HttpServer() as server:
        run("verglas", "push", server.url, path)
        assert any(target.startswith("/nar/") for target in server.uploads)
        state = {"NIX_STATE_DIR": f"{scratch}/other", "HOME": f"{scratch}/home2"}
        run("verglas", "copy", "--from", server.url, path, **state)
        assert run("nix-store", "-q", "--hash", path, **state).stdout == run("nix-store", "-q", "--hash", path).stdout
        begun = time.monotonic()
        assert "no cache" not in run("verglas", "cache", "info", server.url).stdout
        assert time.monotonic() - begun < 14  # a time-out that is waited for is 15
