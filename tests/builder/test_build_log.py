"""Build logs: where they are, that they can be read whatever happened, and how lines are cut."""

from __future__ import annotations

import bz2
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.build_log import LineSplitter, find_build_log, open_build_log, read_build_log, save_build_log
from storefs.formats.store_path import StorePath

if TYPE_CHECKING:
    from storefs.config import Config

DRV = StorePath("abcdfghijklmnpqrsvwxyz0123456789-hello.drv")


def test_logs_are_sharded_by_two_characters_and_compressed(config: Config) -> None:
    log = open_build_log(config, DRV)
    assert log is not None
    log.write(b"hello\n")
    log.close()
    path = Path(config.log_dir, "drvs", "ab", "cdfghijklmnpqrsvwxyz0123456789-hello.drv.bz2")
    assert bz2.decompress(path.read_bytes()) == b"hello\n"
    assert find_build_log(config, DRV) == str(path)


@pytest.mark.parametrize(("settings", "name"), [({"compress-build-log": "false"}, ".drv"), ({}, ".drv.bz2")])
def test_a_silent_build_has_an_empty_log(config: Config, settings: dict[str, str], name: str) -> None:
    log = open_build_log(config.with_settings(settings.items()), DRV)
    assert log is not None
    log.close()
    path = find_build_log(config, DRV)
    assert path is not None
    assert path.endswith(name)
    assert b"".join(read_build_log(path)) == b""
    if path.endswith(".bz2"):
        assert bz2.decompress(Path(path).read_bytes()) == b""


@pytest.mark.parametrize("compress", ["false", "true"])
def test_a_log_from_elsewhere_takes_the_place_of_one_that_is_here(config: Config, compress: str) -> None:
    log = open_build_log(config.with_settings([("compress-build-log", compress)]), DRV)
    assert log is not None
    log.write(b"ours\n")
    log.close()
    save_build_log(config, DRV, [b"the", b"irs\n"])
    path = find_build_log(config, DRV)
    assert path is not None
    assert b"".join(read_build_log(path)) == b"theirs\n"


def test_no_log_is_kept_where_none_is_wanted(config: Config) -> None:
    assert open_build_log(config.with_settings([("keep-build-log", "false")]), DRV) is None
    assert find_build_log(config, DRV) is None


def test_the_log_of_a_killed_build_can_be_read(config: Config) -> None:
    log = open_build_log(config, DRV)
    assert log is not None
    said = b"".join(b"line %d of a long build\n" % number for number in range(10000))
    for start in range(0, len(said), 1000):
        log.write(said[start : start + 1000])
    path = find_build_log(config, DRV)
    assert path is not None
    readable = b"".join(read_build_log(path))
    assert said.startswith(readable)
    assert len(said) - len(readable) < 65536 + 1000
    # A torn end, as after a power cut, loses what is torn and nothing else.
    torn = Path(path).with_name("torn.bz2")
    torn.write_bytes(Path(path).read_bytes()[:-100])
    assert said.startswith(b"".join(read_build_log(str(torn))))
    log.close()
    assert b"".join(read_build_log(path)) == said


def test_logs_of_old_releases_are_found(config: Config) -> None:
    folder = Path(config.log_dir, "drvs")
    folder.mkdir(parents=True)
    (folder / f"{DRV.base_name}.bz2").write_bytes(bz2.compress(b"old " * 100000))
    found = find_build_log(config, DRV)
    assert found == str(folder / f"{DRV.base_name}.bz2")
    pieces = list(read_build_log(found))
    assert b"".join(pieces) == b"old " * 100000
    assert max(map(len, pieces)) <= 65536


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"on", b"e\n", b"two"], ["one", "two"]),
        ([b"10%\r20%\r100%\n"], ["100%"]),
        ([b"abcdef\rxy\n"], ["xycdef"]),
        ([b"\xff\n"], ["\ufffd"]),
    ],
)
def test_lines_are_what_a_terminal_would_show(data: list[bytes], lines: list[str]) -> None:
    splitter = LineSplitter()
    found = [line for piece in data for line in splitter.feed(piece)]
    assert found + splitter.finish() == lines


def test_a_line_without_end_is_cut() -> None:
    """Else a builder could fill the memory of who listens to it, and take the square of its length in time."""
    splitter = LineSplitter()
    found = []
    for _ in range(1000):
        found += splitter.feed(b"x" * 4096)
    found += splitter.finish()
    assert sum(map(len, found)) == 4096000
    assert max(map(len, found)) < 80000
