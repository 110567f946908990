from __future__ import annotations

import logging
from pathlib import Path

import pytest

from storefs.formats.hashes import Hash
from storefs.formats.narinfo import NarInfo
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.metadata import narinfo_cache
from storefs.metadata.narinfo_cache import NarInfoCache, cache_id

X, Y = StorePath("a" * 32 + "-x"), StorePath("b" * 32 + "-y")
CACHE = cache_id("https://one.example/", "/nix/store")
FULL = NarInfo(
    PathInfo(X, Hash("sha256", bytes(range(32))), 10, [X, Y], StorePath("c" * 32 + "-x.drv"), ["k:1", "l:2"], "ca"),
    "nar/x.nar.xz",
    "xz",
    Hash("sha256", bytes(32)),
    7,
)
BARE = NarInfo(PathInfo(Y, Hash("sha256", bytes(32)), 1), "nar/y", "none", None, 0)


@pytest.fixture
def folder(scratch: Path) -> str:
    return str(scratch / "cache/narinfo")


def test_answers_survive_closing(folder: str) -> None:
    answers = NarInfoCache(folder, 100, 100)
    answers.put(CACHE, {X: FULL, Y: BARE}, [])
    answers.put_cache_info(CACHE, "text")
    answers.close()
    answers = NarInfoCache(folder, 100, 100)
    assert answers.find(CACHE, X) == FULL
    assert answers.find(CACHE, Y) == BARE
    assert answers.cache_info(CACHE) == "text"
    assert answers.find(cache_id("https://other.example", "/nix/store"), X) is None
    assert answers.find(cache_id("https://one.example", "/other/store"), X) is None
    answers.forget(CACHE, X)
    assert answers.find(CACHE, X) is None
    answers.close()


def test_a_slash_at_the_end_is_the_same_cache() -> None:
    assert cache_id("https://one.example", "/nix/store") == CACHE


def test_hits_and_misses_grow_old(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = NarInfoCache(folder, 100, 10)
    now = 1_000_000.0
    monkeypatch.setattr(narinfo_cache.time, "time", lambda: now)
    answers.put(CACHE, {X: FULL}, [Y])
    assert answers.find(CACHE, Y) is False
    now += 11
    assert answers.find(CACHE, Y) is None
    assert answers.find(CACHE, X) == FULL
    now += 100
    assert answers.find(CACHE, X) is None
    answers.close()


def test_no_ttl_remembers_no_misses(folder: str) -> None:
    answers = NarInfoCache(folder, 100, 0)
    answers.put(CACHE, {}, [Y])
    assert answers.find(CACHE, Y) is None
    answers.close()


def test_old_rows_are_purged_once_a_day(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = NarInfoCache(folder, 100, 10)
    now = 1_000_000.0
    monkeypatch.setattr(narinfo_cache.time, "time", lambda: now)
    answers.put(CACHE, {X: FULL}, [Y])
    now += 25 * 3600
    answers.put(CACHE, {}, [StorePath("d" * 32 + "-z")])
    environment = answers._environment
    assert environment is not None
    with environment.snapshot() as txn:
        keys = [bytes(key) for key, _ in txn.cursor(db=environment.narinfo)]
    assert [key[:1] for key in keys] == [b"n", b"p"]
    answers.close()


@pytest.mark.parametrize("damage", ["garbage", "truncated", "directory"])
def test_a_damaged_database_is_made_anew(folder: str, damage: str) -> None:
    answers = NarInfoCache(folder, 100, 100)
    answers.put(CACHE, {X: FULL}, [])
    answers.close()
    data = Path(folder) / "data.mdb"
    if damage == "garbage":
        data.write_bytes(b"garbage" * 1000)
    elif damage == "truncated":
        data.write_bytes(data.read_bytes()[:100])
    else:
        data.unlink()
        data.mkdir()
    answers = NarInfoCache(folder, 100, 100)
    assert answers.find(CACHE, X) is None
    answers.put(CACHE, {X: FULL}, [])
    assert answers.find(CACHE, X) == FULL
    answers.close()


def test_where_nothing_can_be_written_nothing_is_remembered(
    scratch: Path, expects_warnings: list[logging.LogRecord]
) -> None:
    (scratch / "file").write_text("")
    answers = NarInfoCache(str(scratch / "file/narinfo"), 100, 100)
    answers.put(CACHE, {X: FULL}, [Y])
    assert answers.find(CACHE, X) is None
    answers.close()
