"""Adding to a cache: many at once, and closed under references at every moment."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storefs.config import Config
from storefs.errors import StoreError
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import nar_of_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.stores import cache_writer
from storefs.stores.cache_uri import Caches
from storefs.stores.cache_writer import CacheWriter

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def short_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_writer, "_AHEAD", 5)


@pytest.fixture
def folder(scratch: Path) -> Path:
    return scratch / "cache"


@pytest.fixture
def writer(config: Config, folder: Path) -> Iterator[CacheWriter]:
    with Caches(config) as caches:
        writer = CacheWriter(caches.open_cache(f"file://{folder}"), compression="none")
        writer.prepare()
        yield writer


def path(number: int) -> StorePath:
    return StorePath(f"{number:032d}-p")


def nar(number: int) -> bytes:
    return nar_of_bytes(b"%d" % number)


def graph(count: int) -> list[PathInfo]:
    infos = []
    for number in range(count):
        references = {path(each) for each in (number, number - 1, number // 2) if each >= 0}
        infos.append(PathInfo(path(number), hash_bytes("sha256", nar(number)), len(nar(number)), references))
    return infos


def content(info: PathInfo) -> list[bytes]:
    return [nar(int(info.path.hash_part))]


def written(folder: Path) -> set[int]:
    return {int(name[:32]) for name in os.listdir(folder) if name.endswith(".narinfo")}


def test_a_cache_is_closed_under_references_at_every_moment(writer: CacheWriter, folder: Path) -> None:
    infos = graph(60)
    moments = []

    def look(info: PathInfo) -> list[bytes]:
        moments.append(written(folder))
        return content(info)

    writer.add_all(infos, look)
    assert written(folder) == set(range(60))
    references = {int(i.path.hash_part): {int(r.hash_part) for r in i.references} for i in infos}
    for moment in moments:
        assert all(references[number] <= moment for number in moment)


def test_what_refers_to_a_failed_path_is_not_added(writer: CacheWriter, folder: Path) -> None:
    def open_nar(info: PathInfo) -> list[bytes]:
        if info.path == path(10):
            raise StoreError("this one is damaged")
        return content(info)

    with pytest.raises(StoreError, match="this one is damaged"):
        writer.add_all(graph(200), open_nar)
    assert written(folder) == set(range(10))  # every later one refers to it


def test_only_a_few_are_begun_before_one_is_done(writer: CacheWriter) -> None:
    """An upload of a hundred thousand paths must not keep them all in memory."""
    gate = threading.Event()
    begun: list[StorePath] = []

    def wait_for_the_gate(info: PathInfo) -> list[bytes]:
        begun.append(info.path)
        gate.wait(10)
        return content(info)

    def asked() -> Iterator[PathInfo]:
        for taken, info in enumerate(graph(40)):
            if taken == cache_writer._AHEAD + 1:
                assert not gate.is_set()
                gate.set()
            yield info

    add: Callable[..., None] = writer.add_all
    add(asked(), wait_for_the_gate)
    assert len(begun) == 40
