"""A cache as companies have it: HTTP/2 over TLS with a certificate of their own, behind a proxy, with a password."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefs.formats.store_path import StoreDir
from tests.conftest import Runner
from tests.connect_proxy import ConnectProxy
from tests.http2_server import Http2Server, make_certificate
from tests.storefs.stores.caches import PUBLIC_KEY, HandMadeCache, path_named

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate"),
]


@pytest.fixture
def cache(environ: dict[str, str]) -> HandMadeCache:
    cache = HandMadeCache(StoreDir(environ["NIX_STORE_DIR"]))
    for number in range(30):
        cache.add(f"p{number}", [f"p{number // 2}"] if number else [])
    return cache


@pytest.fixture
def server(cache: HandMadeCache, scratch: Path, environ: dict[str, str]) -> Iterator[Http2Server]:
    certificate, key = make_certificate(scratch)
    environ["NIX_SSL_CERT_FILE"] = str(certificate)
    with Http2Server(certificate, key, cache.files.get) as server:
        server.authorization = "Basic bWU6c2VjcmV0"
        (scratch / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
        environ["NIX_CONFIG"] += (
            f"substituters = {server.url}\ntrusted-public-keys = {PUBLIC_KEY}\nnetrc-file = {scratch}/netrc\n"
        )
        yield server


def test_everything_at_once(run: Runner, environ: dict[str, str], server: Http2Server) -> None:
    top = StoreDir(environ["NIX_STORE_DIR"]).print(path_named("p29"))
    with ConnectProxy() as proxy:
        environ["https_proxy"] = proxy.url
        run("verglas", "copy", "--from", server.url, top)
        assert len(proxy.asked) == server.connections
        assert all("proxy-authorization: Basic dXNlcjp3b3Jk" in head for head in proxy.asked)
    run("nix-store", "--check-validity", top)
    assert server.connections <= 5  # one for all questions, and those of the threads that fetch


def test_without_the_proxy_for_hosts_that_need_none(run: Runner, environ: dict[str, str], server: Http2Server) -> None:
    top = StoreDir(environ["NIX_STORE_DIR"]).print(path_named("p29"))
    environ |= {"https_proxy": "http://127.0.0.1:9", "no_proxy": "localhost,127.0.0.1"}
    run("verglas", "copy", "--from", server.url, top)
    run("nix-store", "--check-validity", top)


@pytest.mark.parametrize(
    "netrc", ["", "machine 127.0.0.1 login me password wrong", "machine other login me password secret"]
)
def test_a_wrong_password_is_told(
    run: Runner, environ: dict[str, str], server: Http2Server, scratch: Path, netrc: str
) -> None:
    (scratch / "netrc").write_text(netrc)
    top = StoreDir(environ["NIX_STORE_DIR"]).print(path_named("p29"))
    refused = run("verglas", "copy", "--from", server.url, top, status=1)
    assert "HTTP error 401: the server wants another password" in refused.stderr
    assert server.url in refused.stderr
    # What was refused is not taken for what is not there: with the password it works at once.
    (scratch / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    run("verglas", "copy", "--from", server.url, top)
