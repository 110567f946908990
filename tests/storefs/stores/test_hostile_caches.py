"""What a broken or hostile server can do with each answer: it costs little, is told, and the next cache serves."""

from __future__ import annotations

import logging
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from storefs.config import Config
from storefs.errors import StoreError
from storefs.formats.compression import compress
from storefs.formats.nar import nar_of_bytes
from storefs.formats.store_path import StoreDir
from storefs.stores.binary_cache import BinaryCache
from storefs.stores.cache_uri import Caches
from storefs.stores.local import LocalStore
from storefs.stores.substitution import SubstitutionError
from tests.http_server import Fault, HttpServer
from tests.storefs.stores.caches import PUBLIC_KEY, HandMadeCache, path_named

Warnings = list[logging.LogRecord]

MOST_MEMORY = 48 << 20  # bytes; the largest small answer, twice, and what hashing needs
LONGEST = 20  # seconds

SETTINGS = {
    "trusted-public-keys": PUBLIC_KEY,
    "connect-timeout": "1",
    "stalled-download-timeout": "1",
    "download-attempts": "2",
}
# What goes wrong with one answer, and words that tell of it. What a server does not have, or does not give away, is a
# miss and needs no words.
FAULTS: dict[str, tuple[Fault, str]] = {
    "404": (Fault(status=404), "404|"),
    "403": (Fault(status=403), "403|"),
    "401": (Fault(status=401), "HTTP error 401: the server wants another password"),
    "500": (Fault(status=500), "500"),
    "redirect loop": (Fault(status=302, headers={"location": "/loop"}), "too many redirections"),
    "redirect to another scheme": (Fault(status=302, headers={"location": "file:///etc/passwd"}), "passwd|scheme|http"),
    "silent": (Fault(silent=True), "did not answer within"),
    "a head that drips": (Fault(drip_head=0.05), "did not answer within"),
    "a body that drips": (Fault(drip=0.2), "1 KiB/s|took too long"),
    "closed at once": (Fault(raw=b""), "closed the connection"),
    "cut": (Fault(cut=0), "closed the connection|early"),
    "garbage": (Fault(raw=b"\0\xff" * 500), "closed the connection"),
    "endless head": (Fault(raw=b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200_000), "head|header|large|long"),
}


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storefs.http_client.exchanger._FIRST_DELAY", 0.001)
    monkeypatch.setattr("storefs.http_client.batch.SMALL_TIMEOUT", 2.0)
    monkeypatch.setattr("storefs.http_client.client.SMALL_TIMEOUT", 2.0)


@pytest.fixture
def config(config: Config) -> Config:
    return config.with_settings(SETTINGS.items())


@pytest.fixture
def store(config: Config) -> Iterator[LocalStore]:
    with LocalStore(config) as store:
        yield store


@pytest.fixture
def server(config: Config) -> Iterator[HttpServer]:
    with HttpServer(HandMadeCache(StoreDir(config.store_dir), compression="none").files) as server:
        server.faults["/loop"] = Fault(status=302, headers={"location": "/loop"})
        yield server


def filled(config: Config, server: HttpServer) -> HandMadeCache:
    cache = HandMadeCache(StoreDir(config.store_dir), compression="none")
    cache.add("x", content=b"the contents of x, long enough to be cut" * 50)
    server.files.update(cache.files)
    return cache


@pytest.mark.slow
@pytest.mark.parametrize("what", ["narinfo", "NAR", "nix-cache-info"])
@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_told_and_the_next_cache_serves(
    config: Config, store: LocalStore, server: HttpServer, expects_warnings: Warnings, case: str, what: str
) -> None:
    cache = filled(config, server)
    fault, words = FAULTS[case]
    key = {"narinfo": cache.key("x"), "NAR": cache.nar_key("x"), "nix-cache-info": "/nix-cache-info"}[what]
    server.faults[key] = fault
    path = path_named("x")
    with Caches(config) as caches:
        begun = time.monotonic()
        tracemalloc.start()
        try:
            if what == "NAR":
                with pytest.raises(SubstitutionError, match="could not be fetched"):
                    caches.substitution(store, [server.url]).fetch(path)
            else:
                caches.substitution(store, [server.url]).offers([path])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert time.monotonic() - begun < LONGEST
        assert peak < MOST_MEMORY
        assert list(store.all_valid_paths()) == []
        good = HandMadeCache(StoreDir(config.store_dir), priority=90)
        good.add("x", content=b"the contents of x, long enough to be cut" * 50)
        with HttpServer(good.files) as second:
            caches.substitution(store, [server.url, second.url]).fetch(path)
    assert store.is_valid(path)
    told = "\n".join(record.getMessage() for record in expects_warnings)
    assert any(word in told for word in words.split("|")), told
    assert all(server.url in record.getMessage() for record in expects_warnings)
    if what == "NAR":
        assert path.base_name in told


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["none", "xz", "gzip", "zstd", "bzip2", "br"])
@pytest.mark.parametrize("endless", [False, True], ids=["bomb", "endless"])
def test_more_than_was_promised_is_not_taken(
    config: Config, store: LocalStore, server: HttpServer, expects_warnings: Warnings, compression: str, endless: bool
) -> None:
    cache = HandMadeCache(StoreDir(config.store_dir), compression=compression)
    honest = cache.add("x", content=b"z" * 1000)
    # The right beginning, and then zeros: in earnest it would unpack to terabytes.
    zeros = [bytes(1 << 20)] * (1 if compression == "none" else 128)
    cache.files[cache.nar_key("x")] = b"".join(compress([nar_of_bytes(b"z" * 1000)[:600], *zeros], compression))
    server.files.update(cache.files)
    if endless:
        server.faults[cache.nar_key("x")] = Fault(endless=True)
    with Caches(config) as caches:
        tracemalloc.start()
        try:
            with pytest.raises(SubstitutionError, match="could not be fetched"):
                caches.substitution(store, [server.url]).fetch(honest)
            assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
        finally:
            tracemalloc.stop()
    assert list(store.all_valid_paths()) == []
    assert expects_warnings
    assert server.url in expects_warnings[0].getMessage()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["narinfo", "nix-cache-info"])
def test_small_answers_without_an_end_are_given_up(
    config: Config, store: LocalStore, server: HttpServer, expects_warnings: Warnings, what: str
) -> None:
    cache = filled(config, server)
    key = cache.key("x") if what == "narinfo" else "/nix-cache-info"
    server.faults[key] = Fault(endless=True)
    with Caches(config) as caches:
        tracemalloc.start()
        try:
            caches.substitution(store, [server.url]).offers([path_named("x")])
            assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
        finally:
            tracemalloc.stop()
    assert "larger than" in expects_warnings[0].getMessage()


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["gzip", "xz", "br"])
def test_listings_do_not_unpack_without_end(config: Config, server: HttpServer, encoding: str) -> None:
    filled(config, server)
    key = f"/{path_named('x').hash_part}.ls"
    server.files[key] = b"".join(compress([bytes(1 << 20)] * 256, encoding))
    server.faults[key] = Fault(headers={"content-encoding": encoding})
    with Caches(config) as caches:
        opened = caches.open_cache(server.url)
        assert isinstance(opened, BinaryCache)
        tracemalloc.start()
        try:
            with pytest.raises(StoreError, match="larger than"):
                opened.listing(path_named("x"))
            assert tracemalloc.get_traced_memory()[1] < 160 << 20
        finally:
            tracemalloc.stop()
