from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from storefs.http_client.client import HttpClient
from storefs.http_client.connection import Network
from storefs.http_client.exchanger import CancelledError
from storefs.http_client.messages import Exchange, HttpError, UnreachableError, Url
from storefs.http_client.netrc import read_netrc
from tests.http_server import Fault, HttpServer
from tests.waiting import wait_until

BIG = bytes(range(256)) * 4096


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer({"/a": b"alpha", "/empty": b"", "/big": BIG}) as server:
        yield server


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpClient]:
    monkeypatch.setattr("storefs.http_client.exchanger._FIRST_DELAY", 0.001)
    client = HttpClient(answer_timeout=60, attempts=3)
    yield client
    client.close()


@pytest.fixture
def impatient() -> Iterator[HttpClient]:
    """For servers that never answer: what others take, on a busy machine, may be longer than this."""
    client = HttpClient(answer_timeout=0.3, attempts=3)
    yield client
    client.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_get_keeps_the_connection(server: HttpServer, client: HttpClient) -> None:
    assert client.get(server.url + "/a").body == b"alpha"
    assert client.get(server.url + "/empty").body == b""
    assert client.get(server.url + "/big").body == BIG
    assert server.connections == 1


def test_head_has_no_body(server: HttpServer, client: HttpClient) -> None:
    answer = client.head(server.url + "/a")
    assert (answer.body, answer.headers["content-length"]) == (b"", "5")
    assert client.get(server.url + "/a").body == b"alpha"


@pytest.mark.parametrize("status", [404, 403, 410, 501])
def test_final_statuses_are_asked_once(server: HttpServer, client: HttpClient, status: int) -> None:
    server.faults["/a"] = Fault(status=status)
    with pytest.raises(HttpError, match=str(status)) as caught:
        client.get(server.url + "/a")
    assert caught.value.status == status
    assert len(server.log) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 408, 429])
def test_passing_failures_are_asked_again(server: HttpServer, client: HttpClient, status: int) -> None:
    server.faults["/a"] = Fault(status=status, times=2)
    assert client.get(server.url + "/a").body == b"alpha"
    assert len(server.log) == 3


def test_lasting_failures_end_after_the_attempts(server: HttpServer, client: HttpClient) -> None:
    server.faults["/a"] = Fault(status=500)
    with pytest.raises(HttpError, match="HTTP error 500"):
        client.get(server.url + "/a")
    assert len(server.log) == 3


def test_redirects_are_followed_and_loops_end(server: HttpServer, client: HttpClient) -> None:
    server.faults["/old"] = Fault(status=302, headers={"location": "/a"})
    assert client.get(server.url + "/old").body == b"alpha"
    server.faults["/loop"] = Fault(status=301, headers={"location": server.url + "/loop"})
    with pytest.raises(HttpError, match="too many redirections"):
        client.get(server.url + "/loop")
    server.faults["/evil"] = Fault(status=302, headers={"location": "file:///etc/passwd"})
    with pytest.raises(HttpError, match="not an http"):
        client.get(server.url + "/evil")


def test_credentials_do_not_follow_to_another_host(server: HttpServer, client: HttpClient) -> None:
    with HttpServer({"/a": b"other"}) as other:
        server.faults["/old"] = Fault(
            status=302, headers={"location": other.url.replace("127.0.0.1", "localhost") + "/a"}
        )
        url = server.url.replace("http://", "http://user:secret@")
        assert client.get(url + "/old").body == b"other"
        assert "authorization" in server.log[0][2]
        assert "authorization" not in other.log[0][2]


def test_netrc_passwords_are_sent(server: HttpServer, tmp_path: object) -> None:
    with open(f"{tmp_path}/netrc", "w", encoding="utf-8") as file:
        file.write("machine 127.0.0.1\n  login u\n  password p\ndefault login x password y\n")
    client = HttpClient(credentials=read_netrc(f"{tmp_path}/netrc"))
    client.get(server.url + "/a")
    assert server.log[0][2]["authorization"] == "Basic dTpw"
    client.close()
    assert read_netrc("/nonexistent") == {}


class _CountedNetwork(Network):
    """Counts connections: each asks for the addresses of its host."""

    connections = 0

    def addresses(self, host: str, port: int) -> list[tuple[int, object]]:
        self.connections += 1
        return super().addresses(host, port)


@pytest.mark.usefixtures("client")  # which waits a moment only between attempts
def test_refused_connection_names_the_url_and_is_tried_twice() -> None:
    url = f"http://127.0.0.1:{closed_port()}/x"
    network = _CountedNetwork({})
    client = HttpClient(network, attempts=5)
    with pytest.raises(UnreachableError, match=r"unable to download .*127\.0\.0\.1.*[Cc]onnection refused"):
        client.get(url)
    client.close()
    assert network.connections == 2


def test_silent_server_costs_one_timeout(server: HttpServer, impatient: HttpClient) -> None:
    server.faults["*"] = Fault(silent=True)
    with pytest.raises(UnreachableError, match="did not answer within"):
        impatient.get(server.url + "/a")
    assert len(server.log) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70000 + b"\r\n\r\n",
        b"",
        b"\0" * 100,
    ],
)
def test_nonsense_is_an_error_in_bounded_time(server: HttpServer, client: HttpClient, raw: bytes) -> None:
    server.faults["*"] = Fault(raw=raw)
    with pytest.raises(HttpError):
        client.get(server.url + "/a")


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nal\r\n3\r\npha\r\n0\r\ntrailer: 1\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nalpha",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nalpha",
    ],
)
def test_framings(server: HttpServer, client: HttpClient, raw: bytes) -> None:
    server.faults["*"] = Fault(raw=raw)
    assert client.get(server.url + "/a").body == b"alpha"


def test_answers_have_a_limit(server: HttpServer, client: HttpClient) -> None:
    with pytest.raises(HttpError, match="larger than"):
        client.get(server.url + "/big", limit=1000)


def test_connection_closed_while_idle_is_no_failure(server: HttpServer, client: HttpClient) -> None:
    client.get(server.url + "/a")
    server.drop_connections()
    assert client.get(server.url + "/a").body == b"alpha"
    assert server.connections == 2


def test_put_sends_pieces_of_a_stated_length(server: HttpServer, client: HttpClient) -> None:
    client.send("PUT", server.url + "/up", lambda: iter([b"one", b"two"]), {"content-length": "6"})
    assert server.uploads["/up"] == b"onetwo"
    client.send("PUT", server.url + "/up2", lambda: b"bytes", {})
    assert server.uploads["/up2"] == b"bytes"


def test_broken_transfer_is_resumed(server: HttpServer, client: HttpClient) -> None:
    server.faults["/big"] = Fault(cut=300_000, times=2)
    with client.stream(server.url + "/big") as download:
        assert download.size == len(BIG)
        assert b"".join(download.chunks()) == BIG
    assert [headers.get("range") for _, _, headers in server.log] == [None, "bytes=300000-", "bytes=600000-"]


def test_broken_transfer_is_resumed_without_ranges(server: HttpServer, client: HttpClient) -> None:
    server.faults["/big"] = Fault(cut=300_000, times=1)
    with client.stream(server.url + "/big") as download:
        chunks = download.chunks()
        head = next(chunks)
        server.faults["/big"] = Fault(no_range=True)
        assert head + b"".join(chunks) == BIG


def test_transfer_that_always_breaks_at_once_ends(server: HttpServer, client: HttpClient) -> None:
    server.faults["/big"] = Fault(cut=0)
    with client.stream(server.url + "/big") as download, pytest.raises(HttpError, match="closed the connection early"):
        list(download.chunks())
    assert len(server.log) <= 4


def test_slow_transfer_is_given_up(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storefs.http_client.exchanger.TICK", 0.02)
    server.faults["/big"] = Fault(drip=0.01)
    client = HttpClient(stall_timeout=0.1, attempts=1)
    with client.stream(server.url + "/big") as download, pytest.raises(HttpError, match="less than 1 KiB/s"):
        list(download.chunks())


def test_cancel_ends_a_wait(server: HttpServer) -> None:
    server.faults["*"] = Fault(silent=True)
    client = HttpClient(answer_timeout=60)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            client.get(server.url + "/a")
        except CancelledError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: len(server.log) == 1)
    client.cancel()
    thread.join(60)
    assert len(errors) == 1


def test_proxy_gets_whole_urls(server: HttpServer) -> None:
    server.files["http://cache.invalid/x"] = b"through the proxy"
    client = HttpClient(Network({"http_proxy": server.url, "no_proxy": "127.0.0.1,.local"}))
    assert client.get("http://cache.invalid/x").body == b"through the proxy"
    assert client.get(server.url + "/a").body == b"alpha"
    assert [target for _, target, _ in server.log] == ["http://cache.invalid/x", "/a"]
    client.close()


@pytest.mark.parametrize("text", ["ftp://x/y", "http://", "nonsense", "http://host:port/", "http://[::1/"])
def test_bad_urls(client: HttpClient, text: str) -> None:
    with pytest.raises(HttpError):
        client.get(text)


def test_urls_are_quoted_once() -> None:
    assert Url("http://h/a b%20c?d=é").target == "/a%20b%20c?d=%C3%A9"
    assert Url("http://h:80/").authority == "h"
    assert Url("http://[::1]:8080/x").authority == "[::1]:8080"
    assert Url("http://h/cache/").join("nar/x.nar").text == "http://h/cache/nar/x.nar"


# Many at once.


def collect(client: HttpClient, urls: list[str]) -> dict[str, Exchange]:
    found: dict[str, Exchange] = {}

    def done(exchange: Exchange) -> list[Exchange]:
        found[str(exchange.tag)] = exchange
        return []

    requests = []
    for url in urls:
        request = Exchange(Url(url))
        request.tag = url
        requests.append(request)
    client.many(requests, done)
    return found


def test_many_never_exceed_the_limit(server: HttpServer) -> None:
    server.find = lambda target: target.encode()
    server.delay = 0.01
    for limit in (1, 7, 40):
        server.most_at_once = server.connections = 0
        client = HttpClient(connections=limit)
        urls = [f"{server.url}/{number}" for number in range(60)]
        found = collect(client, urls)
        assert all(found[url].take() == url.removeprefix(server.url).encode() for url in urls)
        assert server.most_at_once <= limit
        assert server.connections <= limit
        client.close()


def test_many_follow_up_requests_run_in_the_same_batch(server: HttpServer, client: HttpClient) -> None:
    server.find = lambda target: b"x"
    seen = []

    def done(exchange: Exchange) -> list[Exchange]:
        depth = int(exchange.url.target.strip("/"))
        seen.append(depth)
        return [Exchange(Url(f"{server.url}/{depth + 1}"))] if depth < 30 else []

    client.many([Exchange(Url(server.url + "/0"))], done)
    assert seen == list(range(31))
    assert server.connections == 1


def test_many_retry_redirect_and_report(server: HttpServer, client: HttpClient) -> None:
    server.faults["/a"] = Fault(status=503, times=2)
    server.faults["/old"] = Fault(status=302, headers={"location": "/a"})
    server.faults["/bad"] = Fault(status=500)
    server.faults["/cut"] = Fault(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx")
    server.faults["/loop"] = Fault(status=302, headers={"location": "/loop"})
    names = ["a", "old", "bad", "cut", "loop", "none"]
    found = {url.rpartition("/")[2]: one for url, one in collect(client, [f"{server.url}/{n}" for n in names]).items()}
    assert found["a"].take() == found["old"].take() == b"alpha"
    assert found["none"].status == 404 and found["none"].error is None
    assert "500" in str(found["bad"].error)
    assert "closed the connection" in str(found["cut"].error)
    assert "redirections" in str(found["loop"].error)


def test_many_to_a_dead_server_all_fail_at_once(server: HttpServer, client: HttpClient) -> None:
    dead = f"http://127.0.0.1:{closed_port()}"
    found = collect(client, [f"{dead}/{n}" for n in range(300)] + [server.url + "/a"])
    assert len(found) == 301
    assert found[server.url + "/a"].take() == b"alpha"
    assert all(isinstance(found[f"{dead}/{n}"].error, UnreachableError) for n in range(300))


@pytest.mark.slow
def test_many_to_a_silent_server_cost_one_timeout(server: HttpServer, impatient: HttpClient) -> None:
    server.faults["*"] = Fault(silent=True)
    found = collect(impatient, [f"{server.url}/{n}" for n in range(400)])
    assert all(isinstance(one.error, UnreachableError) for one in found.values())
    assert len(found) == 400
    assert len(server.log) <= impatient.connections, "who came later was to fail with the first ones"


@pytest.mark.parametrize("room", [1, 10])
def test_many_are_content_with_the_connections_that_a_server_takes(
    server: HttpServer, client: HttpClient, room: int
) -> None:
    server.find = lambda target: target.encode()
    server.room = room
    server.delay = 0.001
    urls = [f"{server.url}/{number}" for number in range(400)]
    found = collect(client, urls)
    assert all(found[url].error is None for url in urls)
    assert len(found) == 400


def test_many_survive_a_server_that_closes_after_each_answer(server: HttpServer) -> None:
    client = HttpClient(answer_timeout=60)  # three hundred connections to a server of threads, on a loaded machine
    server.faults["*"] = Fault(raw=b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
    found = collect(client, [f"{server.url}/{n}" for n in range(300)])
    assert {one.take() for one in found.values()} == {b"ok"}
    assert len(found) == 300
    client.close()
