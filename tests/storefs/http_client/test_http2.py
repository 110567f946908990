from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefs.http_client.client import HttpClient
from storefs.http_client.connection import Network
from storefs.http_client.messages import Exchange, HttpError, UnreachableError, Url
from tests.connect_proxy import ConnectProxy
from tests.http2_server import Http2Server, make_certificate
from tests.http_server import HttpServer

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")

BIG = os.urandom(3_000_000)


def find(target: str) -> bytes | None:
    return {"/big": BIG, "/none": None}.get(target, target.encode())


@pytest.fixture
def certificate(scratch: Path) -> tuple[Path, Path]:
    return make_certificate(scratch)


@pytest.fixture
def server(certificate: tuple[Path, Path]) -> Iterator[Http2Server]:
    with Http2Server(*certificate, find) as server:
        yield server


@pytest.fixture
def client(certificate: tuple[Path, Path]) -> Iterator[HttpClient]:
    client = HttpClient(Network({}, str(certificate[0])), attempts=1)
    yield client
    client.close()


def test_one_connection_carries_everything(server: Http2Server, client: HttpClient) -> None:
    assert client.get(server.url + "/a").body == b"/a"
    assert client.get(server.url + "/b").body == b"/b"
    with client.stream(server.url + "/big") as download:
        assert b"".join(download.chunks()) == BIG
    client.send("PUT", server.url + "/up", lambda: iter([BIG[:1_000_000], b"end"]), {"content-length": "1000003"})
    assert server.uploads["/up"] == BIG[:1_000_000] + b"end"
    with pytest.raises(HttpError, match="404"):
        client.get(server.url + "/none")
    assert server.connections == 1


@pytest.mark.parametrize("streams", [1, 7, 100])
def test_many_share_one_connection_within_the_servers_limit(
    certificate: tuple[Path, Path], client: HttpClient, streams: int
) -> None:
    found = {}

    def done(exchange: Exchange) -> list[Exchange]:
        assert exchange.error is None
        found[exchange.url.target] = exchange.take()
        return []

    with Http2Server(*certificate, find, streams) as server:
        client.many([Exchange(Url(f"{server.url}/{number}")) for number in range(400)], done)
        assert found == {f"/{number}": f"/{number}".encode() for number in range(400)}
        assert server.connections == 1
        assert server.most_at_once <= max(streams, 100)


def test_untrusted_certificate_is_refused(server: Http2Server) -> None:
    client = HttpClient(attempts=1)
    with pytest.raises(UnreachableError, match="certificate is not valid"):
        client.get(server.url + "/a")


def test_tls_through_a_proxy(server: Http2Server, certificate: tuple[Path, Path]) -> None:
    with ConnectProxy() as proxy:
        client = HttpClient(Network({"https_proxy": proxy.url}, str(certificate[0])), attempts=1)
        assert client.get(server.url + "/a").body == b"/a"
        assert client.get(server.url + "/big").body == BIG
        assert len(proxy.asked) == 1
        assert "proxy-authorization: Basic dXNlcjp3b3Jk" in proxy.asked[0]
        client.close()
        proxy.refuse = True
        with pytest.raises(UnreachableError, match=r"the proxy 127\.0\.0\.1 answered 403"):
            client.get(server.url + "/a")


def test_http1_over_tls(certificate: tuple[Path, Path], client: HttpClient) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with HttpServer({"/a": b"alpha", "/big": BIG}, tls=context) as server:
        assert client.get(server.url + "/a").body == b"alpha"
        with client.stream(server.url + "/big") as download:
            assert b"".join(download.chunks()) == BIG
        bodies = []

        def done(exchange: Exchange) -> list[Exchange]:
            assert exchange.error is None
            bodies.append(exchange.take())
            return []

        client.many([Exchange(Url(server.url + "/a")) for _ in range(50)], done)
        assert bodies == [b"alpha"] * 50
