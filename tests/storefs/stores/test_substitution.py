from __future__ import annotations

import logging
import os
import re
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storefs.config import Config
from storefs.formats.compression import compress
from storefs.formats.store_path import StoreDir
from storefs.stores.cache_uri import Caches, answers_path
from storefs.stores.local import LocalStore
from storefs.stores.substitution import Substitution, SubstitutionError
from tests.conftest import Runner
from tests.http_server import Fault, HttpServer
from tests.storefs.stores.caches import PUBLIC_KEY, HandMadeCache, path_named

Warnings = list[logging.LogRecord]


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storefs.http_client.exchanger._FIRST_DELAY", 0.001)


@pytest.fixture
def config(config: Config) -> Config:
    return config.with_settings([("trusted-public-keys", PUBLIC_KEY), ("connect-timeout", "1")])


@pytest.fixture
def store(config: Config) -> Iterator[LocalStore]:
    with LocalStore(config) as store:
        yield store


@pytest.fixture
def cache(config: Config) -> HandMadeCache:
    return HandMadeCache(StoreDir(config.store_dir))


@pytest.fixture
def server(cache: HandMadeCache) -> Iterator[HttpServer]:
    with HttpServer(cache.files) as server:
        yield server


@pytest.fixture
def opened(config: Config, store: LocalStore) -> Iterator[Callable[..., Substitution]]:
    closing: list[Caches] = []

    def open_(*uris: str, **settings: str) -> Substitution:
        pairs = [(name.replace("_", "-"), value) for name, value in settings.items()]
        caches = Caches(config.with_settings(pairs))
        closing.append(caches)
        return caches.substitution(store, uris)

    yield open_
    for caches in closing:
        caches.close()


Open = Callable[..., Substitution]


def diamond(cache: HandMadeCache) -> None:
    cache.add("bottom")
    cache.add("left", ["bottom"])
    cache.add("right", ["bottom", "right"])
    cache.add("top", ["left", "right"])


def narinfo_targets(server: HttpServer) -> list[str]:
    return [target for target in server.targets if target.endswith(".narinfo")]


def test_closure_is_fetched_with_everything_it_refers_to(
    cache: HandMadeCache, server: HttpServer, store: LocalStore, opened: Open
) -> None:
    diamond(cache)
    opened(server.url).fetch(path_named("top"))
    names = {path.name for path in store.all_valid_paths()}
    assert names == {"top", "left", "right", "bottom"}
    info = store.path_info(path_named("right"))
    assert info.references == tuple(sorted([path_named("bottom"), path_named("right")]))
    assert info.signatures and not info.ultimate
    assert store.read_path(path_named("left")) == b"content of left"


def test_each_narinfo_is_asked_for_once_and_the_second_time_never(
    cache: HandMadeCache, server: HttpServer, opened: Open
) -> None:
    diamond(cache)
    absent = path_named("absent")
    first = opened(server.url)
    assert set(first.offers([path_named("top"), absent])) == {path_named("top")}
    assert len(narinfo_targets(server)) == len(set(narinfo_targets(server))) == 5
    server.log.clear()
    assert len(opened(server.url).closure([path_named("top"), absent])) == 4
    assert server.log == []


def test_negative_answers_expire(cache: HandMadeCache, server: HttpServer, opened: Open) -> None:
    assert not opened(server.url).offers([path_named("late")])
    cache.add("late")
    assert not opened(server.url).offers([path_named("late")])
    assert opened(server.url, narinfo_cache_negative_ttl="0").offers([path_named("late")])


def test_a_process_that_lives_long_asks_again(
    cache: HandMadeCache, server: HttpServer, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storefs.stores.binary_cache._LEAST", 0.0)
    substitution = opened(server.url, narinfo_cache_negative_ttl="0")
    assert not substitution.offers([path_named("late")])
    cache.add("late")
    assert substitution.offers([path_named("late")])


def test_database_of_answers_may_be_deleted_and_damaged(
    cache: HandMadeCache, server: HttpServer, config: Config, opened: Open
) -> None:
    diamond(cache)
    opened(server.url).offers([path_named("top")])
    with open(f"{answers_path(config)}/data.mdb", "r+b") as file:
        file.write(b"damage" * 100)
    # The process that has it open is another one in practice; here it was closed by nobody yet.
    assert len(opened(server.url).closure([path_named("top")])) == 4


def test_answers_are_forgotten_as_users_of_nix_have_it_forgotten(
    cache: HandMadeCache, server: HttpServer, config: Config, run: Runner
) -> None:
    path = f"{config.store_dir}/{path_named('late').base_name}"
    words = ("nix", "path-info", "--store", server.url, path)
    run(*words, status=1)
    cache.add("late")
    run(*words, status=1)
    (token,) = Path(f"{config.xdg('cache')}/nix").glob("binary-cache*")
    token.unlink()
    assert run(*words).stdout == f"{path}\n"


def test_what_is_remembered_may_be_out_of_date(
    cache: HandMadeCache, server: HttpServer, store: LocalStore, opened: Open, expects_warnings: Warnings
) -> None:
    path = cache.add("x")
    opened(server.url).offers([path])
    old, narinfo = cache.nar_key("x"), f"/{path.hash_part}.narinfo"
    new = old.replace("/nar/", "/nar/new-")
    cache.files[new] = cache.files.pop(old)
    cache.files[narinfo] = cache.files[narinfo].replace(b"URL: nar/", b"URL: nar/new-")
    opened(server.url).fetch(path)
    assert store.is_valid(path)


def test_answers_survive_the_server(cache: HandMadeCache, server: HttpServer, opened: Open) -> None:
    diamond(cache)
    opened(server.url).offers([path_named("top")])
    server.close()
    assert len(opened(server.url).closure([path_named("top")])) == 4


def test_second_cache_is_asked_only_for_what_the_first_lacks(
    cache: HandMadeCache, server: HttpServer, config: Config, opened: Open
) -> None:
    other = HandMadeCache(StoreDir(config.store_dir), priority=10)
    for number in range(10):
        cache.add(f"p{number}")
        if number < 5:
            other.add(f"p{number}")
    with HttpServer(other.files) as better:
        # The better priority counts, not the order in which they were named.
        offers = opened(server.url, better.url).offers([path_named(f"p{number}") for number in range(10)])
        assert len(offers) == 10
        assert len(narinfo_targets(better)) == 10
        assert sorted(narinfo_targets(server)) == sorted(cache.key(f"p{number}") for number in range(5, 10))


def test_what_a_liar_leaves_out_is_fetched_from_who_is_believed(
    cache: HandMadeCache,
    server: HttpServer,
    store: LocalStore,
    config: Config,
    opened: Open,
    expects_warnings: Warnings,
) -> None:
    diamond(cache)
    liar = HandMadeCache(StoreDir(config.store_dir), priority=10)
    for key, content in cache.files.items():
        if key.endswith(".narinfo"):
            liar.files[key] = re.sub(rb"References: .*\n", b"References: \n", content)
    with HttpServer(liar.files) as bad:
        opened(server.url, bad.url).fetch(path_named("top"))
    assert all(store.is_valid(path_named(name)) for name in ("top", "left", "right", "bottom"))


@pytest.mark.parametrize(
    "told", [{"top": "inner", "inner": "bottom"}, {"top": "inner"}], ids=["one is left out", "two in a row"]
)
def test_what_a_liar_leaves_out_may_need_what_it_tells(
    told: dict[str, str],
    cache: HandMadeCache,
    server: HttpServer,
    store: LocalStore,
    config: Config,
    opened: Open,
    expects_warnings: Warnings,
) -> None:
    chain = ["bottom", "inner", "outer"]
    for name, references in (("bottom", []), ("inner", ["bottom"]), ("outer", ["inner"]), ("top", ["inner", "outer"])):
        cache.add(name, references)
    liar = HandMadeCache(StoreDir(config.store_dir), priority=10)
    for name in [*chain, "top"]:
        said = f"References: {path_named(told[name]).base_name if name in told else ''}\n".encode()
        liar.files[cache.key(name)] = re.sub(rb"References: .*\n", said, cache.files[cache.key(name)])
    with HttpServer(liar.files) as bad:
        substitution = opened(server.url, bad.url)
        fetching = threading.Thread(target=substitution.fetch, args=(path_named("top"),), daemon=True)
        fetching.start()
        fetching.join(10)
        assert not fetching.is_alive()
    assert all(store.is_valid(path_named(name)) for name in [*chain, "top"])


@pytest.mark.parametrize("bottom", [[], ["first"]], ids=["a chain", "a circle"])
def test_two_groups_that_learn_of_references_late_do_not_wait_for_each_other(
    bottom: list[str],
    cache: HandMadeCache,
    server: HttpServer,
    store: LocalStore,
    config: Config,
    opened: Open,
    expects_warnings: Warnings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One group has `first` and `third`, the other `second`; each needs the other, through paths nobody told of."""
    monkeypatch.setattr("storefs.stores.fetch_groups._GROUP_PATHS", (2, 2))
    first, third, second = sorted(["first", "second", "third"], key=path_named)
    references = {first: ["x"], "x": [second], second: ["y"], "y": [third], third: ["z"], "z": bottom}
    if bottom:
        references["z"] = [first]
    for name, each in references.items():
        cache.add(name, each)
    liar = HandMadeCache(StoreDir(config.store_dir), priority=10)
    for name in (first, second, third):
        liar.files[cache.key(name)] = re.sub(rb"References: .*\n", b"References: \n", cache.files[cache.key(name)])
    server.delay = 0.02
    outcome: list[BaseException | None] = []

    def fetch() -> None:
        try:
            substitution.fetch_all([path_named(name) for name in (first, second, third)])
        except SubstitutionError as error:
            outcome.append(error)
        else:
            outcome.append(None)

    with HttpServer(liar.files) as bad:
        substitution = opened(server.url, bad.url)
        fetching = threading.Thread(target=fetch, daemon=True)
        fetching.start()
        fetching.join(20)
        assert not fetching.is_alive()
    assert (outcome == [None]) == (not bottom)
    assert len(list(store.all_valid_paths())) == (0 if bottom else 6)


@pytest.mark.parametrize("missing", [True, False])
def test_who_waits_for_another_fetch_is_told_why_it_failed(
    cache: HandMadeCache, server: HttpServer, opened: Open, monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    diamond(cache)
    substitution = opened(server.url)
    top, bottom = path_named("top"), path_named("bottom")
    claims, _ = substitution._claim(substitution._plan([bottom]), alone=False)
    claim, waiting = substitution._claim, threading.Event()

    def claimed(*arguments: Any, **options: Any) -> Any:
        found = claim(*arguments, **options)
        waiting.set()
        return found

    monkeypatch.setattr(substitution, "_claim", claimed)
    raised: list[SubstitutionError] = []

    def fetch() -> None:
        try:
            substitution.fetch(bottom)
        except SubstitutionError as error:
            raised.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    waiting.wait()
    claims[bottom].failure = SubstitutionError("it has gone", top, missing=missing)
    substitution._release(claims)
    thread.join()
    assert [(str(error), error.path, error.missing) for error in raised] == [("it has gone", top, missing)]


def test_caches_of_other_stores_are_not_asked(
    cache: HandMadeCache, server: HttpServer, opened: Open, expects_warnings: Warnings
) -> None:
    cache.add("x")
    cache.files["/nix-cache-info"] = b"StoreDir: /other/store\n"
    assert not opened(server.url).offers([path_named("x")])
    assert narinfo_targets(server) == []
    assert "is for Nix stores with prefix '/other/store'" in expects_warnings[0].getMessage()


def test_mass_queries_go_to_caches_that_want_them(cache: HandMadeCache, server: HttpServer, opened: Open) -> None:
    cache.add("x")
    assert opened(server.url).substitutable([path_named("x")]) == {path_named("x")}
    cache.files["/nix-cache-info"] = cache.files["/nix-cache-info"].replace(b"WantMassQuery: 1\n", b"")
    plain = opened(server.url + "/")
    assert plain.substitutable([path_named("x")]) in (set(), {path_named("x")})


def test_dead_cache_costs_one_warning_and_the_next_one_serves(
    cache: HandMadeCache, server: HttpServer, store: LocalStore, opened: Open, expects_warnings: Warnings
) -> None:
    diamond(cache)
    with HttpServer() as gone:
        dead = gone.url
    opened(dead, server.url).fetch(path_named("top"))
    assert store.is_valid(path_named("top"))
    messages = [record.getMessage() for record in expects_warnings]
    assert len(messages) == 1 and dead in messages[0] and "disabling binary cache" in messages[0]


def test_cache_comes_back_without_a_restart(
    cache: HandMadeCache,
    server: HttpServer,
    opened: Open,
    expects_warnings: Warnings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("storefs.stores.binary_cache._REST", 0.0)
    cache.add("x")
    server.faults["*"] = Fault(status=500)
    substitution = opened(server.url, download_attempts="1")
    assert not substitution.offers([path_named("x")])
    server.faults.clear()
    assert substitution.offers([path_named("x")])
    assert expects_warnings


@pytest.mark.slow
def test_silent_cache_costs_one_timeout(
    cache: HandMadeCache, server: HttpServer, store: LocalStore, opened: Open, expects_warnings: Warnings
) -> None:
    diamond(cache)
    with HttpServer() as silent:
        silent.faults["*"] = Fault(silent=True)
        opened(silent.url, server.url).fetch(path_named("top"))
        assert len(silent.log) == 1
    assert store.is_valid(path_named("top"))
    assert len(expects_warnings) == 1


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def plain(cache: HandMadeCache) -> HandMadeCache:
    cache.compression = "none"
    return cache


BAD: dict[str, tuple[Callable[[HandMadeCache], None], str]] = {
    "a flipped byte": (
        lambda c: c.files.update({c.nar_key("x"): flip(c.files[c.nar_key("x")], len(c.files[c.nar_key("x")]) // 2)}),
        "x",
    ),
    "a truncated file": (lambda c: c.files.update({c.nar_key("x"): c.files[c.nar_key("x")][:-20]}), "xz data|end-of"),
    "an empty file": (lambda c: c.files.update({c.nar_key("x"): b""}), "truncated xz data"),
    "garbage": (lambda c: c.files.update({c.nar_key("x"): b"garbage" * 99}), "damaged xz data"),
    "another NAR": (lambda c: c.files.update({c.nar_key("x"): c.files[c.nar_key("other")]}), "hash mismatch|larger"),
    "a missing file": (lambda c: c.files.pop(c.nar_key("x")), "HTTP error 404"),  # type: ignore[dict-item, return-value]
    "more than promised": (
        lambda c: c.files.update({c.nar_key("x"): b"".join(compress([bytes(1 << 20)] * 64, "xz"))}),
        "bad archive|larger than",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_nars_name_cache_and_path_and_the_next_cache_serves(
    cache: HandMadeCache,
    server: HttpServer,
    store: LocalStore,
    config: Config,
    opened: Open,
    expects_warnings: Warnings,
    case: str,
) -> None:
    damage, expected = BAD[case]
    cache.add("other", content=b"something longer than the content of x" * 3)
    path = cache.add("x")
    damage(cache)
    with pytest.raises(SubstitutionError, match="could not be fetched") as caught:
        opened(server.url).fetch(path)
    assert caught.value.missing == (case == "a missing file")  # then it is built, without --fallback
    assert not store.is_valid(path)
    assert list(store.all_valid_paths()) == []
    good = HandMadeCache(StoreDir(config.store_dir), priority=90)
    good.add("x")
    with HttpServer(good.files) as second:
        opened(server.url, second.url).fetch(path)
    assert store.read_path(path) == b"content of x"
    messages = [record.getMessage() for record in expects_warnings]
    assert any(re.search(expected, message) for message in messages)
    assert all(path.base_name in message and server.url in message for message in messages)


def test_wrong_hash_in_a_signed_narinfo_is_refused(
    cache: HandMadeCache, server: HttpServer, store: LocalStore, opened: Open, expects_warnings: Warnings
) -> None:
    path = cache.add("x", nar_size=1000)
    with pytest.raises(SubstitutionError, match="hash mismatch importing path"):
        opened(server.url).fetch(path)
    assert not store.is_valid(path)
    assert expects_warnings


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("StorePath: ", "StorePath: /elsewhere"),
        ("NarHash: ", "Nothing: "),
        ("Compression: xz", "Compression: lz77"),
        ("NarSize: ", "NarSize: -"),
    ],
)
def test_bad_narinfos_are_misses_and_the_next_cache_serves(
    cache: HandMadeCache,
    server: HttpServer,
    store: LocalStore,
    config: Config,
    opened: Open,
    expects_warnings: Warnings,
    old: str,
    new: str,
) -> None:
    path = cache.add("x")
    cache.edit("x", old, new)
    good = HandMadeCache(StoreDir(config.store_dir), priority=90)
    good.add("x")
    with HttpServer(good.files) as second:
        opened(server.url, second.url).fetch(path)
    assert store.is_valid(path)
    assert expects_warnings


def test_narinfo_of_another_path_is_a_miss(
    cache: HandMadeCache, server: HttpServer, opened: Open, expects_warnings: Warnings
) -> None:
    cache.add("y")
    cache.files[cache.key("x")] = cache.files[cache.key("y")]
    assert not opened(server.url).offers([path_named("x")])
    assert "describes another path" in expects_warnings[0].getMessage()


def test_unsigned_and_wrongly_signed_paths_are_refused(
    cache: HandMadeCache, server: HttpServer, store: LocalStore, opened: Open, expects_warnings: Warnings
) -> None:
    unsigned = cache.add("unsigned", sign=False)
    changed = cache.add("changed")
    cache.edit("changed", "References: ", f"References: {unsigned.base_name}")
    for path in (unsigned, changed):
        with pytest.raises(SubstitutionError, match="does not have a valid signature"):
            opened(server.url).fetch(path)
    assert not any(target.startswith("/nar/") for target in server.targets)
    opened(server.url, require_sigs="false").fetch(unsigned)
    opened(server.url + "?trusted=1").fetch(changed)
    assert store.is_valid(unsigned) and store.is_valid(changed)
    assert expects_warnings


def test_missing_reference_is_named_and_nothing_is_registered(
    cache: HandMadeCache, server: HttpServer, store: LocalStore, opened: Open
) -> None:
    cache.add("top", ["gone"])
    with pytest.raises(SubstitutionError, match=r"-gone', which '.*-top' refers to") as caught:
        opened(server.url).fetch(path_named("top"))
    assert caught.value.missing and caught.value.path == path_named("gone")
    assert list(store.all_valid_paths()) == []


def test_failed_path_takes_what_refers_to_it_along_and_nothing_else(
    cache: HandMadeCache, server: HttpServer, store: LocalStore, opened: Open, expects_warnings: Warnings
) -> None:
    diamond(cache)
    cache.files[cache.nar_key("left")] = b"garbage"
    with pytest.raises(SubstitutionError, match="left"):
        opened(server.url).fetch(path_named("top"))
    assert {path.name for path in store.all_valid_paths()} == {"bottom", "right"}
    assert expects_warnings


def test_remembered_answer_whose_nar_is_gone_is_asked_again(
    cache: HandMadeCache, server: HttpServer, store: LocalStore, opened: Open, expects_warnings: Warnings
) -> None:
    path = cache.add("x")
    opened(server.url).offers([path])
    del cache.files[cache.nar_key("x")]
    with pytest.raises(SubstitutionError):
        opened(server.url).fetch(path)
    cache.compression = "zstd"
    cache.add("x")
    opened(server.url).fetch(path)
    assert store.is_valid(path)
    assert expects_warnings


def test_many_threads_fetch_each_nar_once(
    cache: HandMadeCache, server: HttpServer, store: LocalStore, opened: Open
) -> None:
    diamond(cache)
    server.delay = 0.005
    substitution = opened(server.url)
    errors: list[BaseException] = []

    def fetch(name: str) -> None:
        try:
            substitution.fetch(path_named(name))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=fetch, args=(name,)) for name in ("top", "left", "right", "bottom") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    nars = [target for target in server.targets if target.startswith("/nar/")]
    assert len(nars) == len(set(nars)) == 4
    assert store.is_valid(path_named("top"))


@pytest.mark.slow
def test_large_closure_in_groups_by_several_threads(
    cache: HandMadeCache,
    server: HttpServer,
    store: LocalStore,
    opened: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("storefs.stores.fetch_groups._GROUP_PATHS", (3, 3))
    cache.compression = "none"
    for number in range(60):
        cache.add(f"n{number}", [f"n{other}" for other in {number // 2, number // 3} if other != number])
    opened(server.url).fetch_all([path_named(f"n{number}") for number in range(60)])
    assert len(list(store.all_valid_paths())) == 60


@pytest.mark.slow
def test_large_nar_passes_in_bounded_memory(
    cache: HandMadeCache, server: HttpServer, store: LocalStore, opened: Open
) -> None:
    cache.compression = "zstd"
    path = cache.add("big", content=bytes(100 << 20))
    substitution = opened(server.url)
    tracemalloc.start()
    try:
        substitution.fetch(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert store.path_info(path).nar_size > 100 << 20
    assert peak < 30 << 20


def test_file_caches_and_chroot_stores_are_substituters(
    cache: HandMadeCache, store: LocalStore, opened: Open, scratch: object
) -> None:
    diamond(cache)
    for key, content in cache.files.items():
        target = f"{scratch}/cache{key}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(content)
    opened(f"file://{scratch}/cache").fetch(path_named("left"))
    assert {path.name for path in store.all_valid_paths()} == {"left", "bottom"}
