"""What a lazy mount says when caches fail, lie or go away: an error, in time, and never what is not so."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from tests.http_server import Fault
from tests.storefs.fuse.lazy_mount import BIG, Lazy, package
from tests.storefs.stores.caches import path_named
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    Damage = Callable[[Lazy], object]

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

# No cache has it, so that the background fetches nothing, and what is shown is due to who looks and reads.
ALONE = ["gone"]
NAMES = ["big", "bin", "empty", "link"]


def fails(action: Callable[[], object]) -> None:
    begun = time.monotonic()
    with pytest.raises(OSError, match="Input/output error"):
        action()
    assert time.monotonic() - begun < 14  # less than the time-out of a cache that is silent


def flip(lazy: Lazy) -> None:
    files, key = lazy.cache.files, lazy.cache.nar_key("x")
    middle = len(files[key]) // 2
    files[key] = files[key][:middle] + bytes([files[key][middle] ^ 1]) + files[key][middle + 1 :]


def replace_nar(lazy: Lazy) -> None:
    """Sound in itself, and of the right size: only the hash tells."""
    lazy.cache.files[lazy.cache.nar_key("x")] = zstandard.compress(package("y"))


def fault(fault: Fault) -> Damage:
    return lambda lazy: lazy.server.faults.update({lazy.cache.nar_key("x"): fault})


DAMAGE: dict[str, Damage] = {
    "flipped": flip,
    "another": replace_nar,
    "unsigned": lambda lazy: lazy.cache.edit("x", "Sig: test-1", "Sig: test-2"),
    "gone": lambda lazy: lazy.cache.files.pop(lazy.cache.nar_key("x")),
    "failing": fault(Fault(status=500)),
    "silent": fault(Fault(silent=True)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_contents_that_are_not_what_was_promised_are_an_error(lazy: Lazy, damage: str) -> None:
    path = lazy.add("x", ALONE)
    DAMAGE[damage](lazy)
    for _ in range(2):
        fails((path / "big").read_bytes)
    assert not lazy.is_valid("x")
    wait_until(lambda: lazy.server.url in lazy.store.log and path.name in lazy.store.log)
    if damage == "another":
        assert f"store path '{path.name}': hash mismatch fetching path '{path.name}' from" in lazy.store.log


def node(root: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        root = root["entries"][name]
    return root


LIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "size": lambda root: node(root, "big").update(size=3),
    "offset": lambda root: node(root, "big").update(narOffset=0),
    "far offset": lambda root: node(root, "big").update(narOffset=1 << 60),
    "mode": lambda root: node(root, "bin", "run").pop("executable"),
    "file for a directory": lambda root: root["entries"].update(bin=node(root, "big")),
    "directory for a file": lambda root: root["entries"].update(empty={"type": "directory", "entries": {}}),
    "file for a link": lambda root: root["entries"].update(link=node(root, "big")),
    "link for a file": lambda root: root["entries"].update(empty={"type": "symlink", "target": "/etc/passwd"}),
    "target": lambda root: node(root, "link").update(target="/etc/passwd"),
    "too much": lambda root: root["entries"].update(more=node(root, "big")),
    "too little": lambda root: root["entries"].pop("bin"),
}


def lie(lazy: Lazy, what: str) -> None:
    listing = json.loads(lazy.cache.files[lazy.listing_key("x")])
    LIES[what](listing["root"])
    lazy.cache.files[lazy.listing_key("x")] = json.dumps(listing).encode()


def is_right(path: Path) -> bool:
    return (
        sorted(os.listdir(path)) == NAMES
        and (path / "big").read_bytes() == BIG
        and os.readlink(path / "link") == "bin/run"
        and (path / "bin/run").stat().st_mode == 0o100555
        and (path / "empty").stat().st_mode == 0o100444
    )


@pytest.mark.parametrize("what", LIES)
def test_a_listing_that_lies_gives_an_error_once_and_the_truth_from_then_on(lazy: Lazy, what: str) -> None:
    path = lazy.add("x", ALONE)
    lie(lazy, what)
    with pytest.raises(OSError, match="Stale file handle"):
        (path / "big").read_bytes()
    wait_until(lambda: _without_errors(lambda: is_right(path)))
    assert len(lazy.nars()) == 1
    assert f"the listing of '{path.name}' in '{lazy.server.url}' is not that of its contents" in lazy.store.log


def _without_errors(condition: Callable[[], bool], *others: int) -> bool:
    """What the kernel knows is dropped a moment after the error; until then a file is stale."""
    try:
        return condition()
    except OSError as error:
        assert error.errno in {errno.ESTALE, errno.ENOENT, errno.ENOTDIR, errno.EINVAL, *others}
        return False


def test_a_link_is_not_followed_where_only_the_listing_says_it_leads(lazy: Lazy) -> None:
    path = lazy.add("x", ALONE)
    lie(lazy, "target")
    assert (path / "link").lstat().st_size == len("/etc/passwd")
    assert (path / "link").read_text() == "#!/bin/sh\necho this is x\n"
    assert os.readlink(path / "link") == "bin/run"


def test_what_was_only_looked_at_is_compared_when_it_is_fetched_in_the_background(lazy: Lazy) -> None:
    path = lazy.add("x")
    lie(lazy, "too little")
    assert not (path / "bin").exists()
    wait_until((path / "bin/run").exists)
    assert lazy.is_valid("x")


@pytest.mark.parametrize(
    "listing",
    [
        b"no JSON",
        b"[]",
        b'{"version": 1}',
        b'{"root":' * 100_000,
        b'{"version": 1, "root": {"type": "directory", "entries": {"..": 1}}}',
        b'{"version": 1, "root": {"type": "directory", "entries": {"\\ud800": {"type": "symlink", "target": "x"}}}}',
        b'{"version": 1, "root": {"type": "regular", "size": -1, "narOffset": 0}}',
    ],
    ids=["no-json", "list", "no-root", "deep", "dots", "surrogate", "negative"],
)
def test_a_listing_that_makes_no_sense_is_as_good_as_none(lazy: Lazy, listing: bytes) -> None:
    path = lazy.add("x", ALONE)
    lazy.cache.files[lazy.listing_key("x")] = listing
    assert is_right(path)


@pytest.mark.parametrize("what", ["narinfo", "listing"])
def test_a_failing_cache_is_an_error_and_not_a_missing_path(lazy: Lazy, what: str) -> None:
    path = lazy.add("x", ALONE)
    lazy.server.faults[lazy.cache.key("x") if what == "narinfo" else lazy.listing_key("x")] = Fault(status=500)
    for _ in range(2):
        fails(path.stat)
    wait_until(lambda: lazy.server.url in lazy.store.log)  # another thread writes it


def test_a_cache_that_is_not_there_is_an_error_in_time_and_leaves_what_is_here_alone(lazy: Lazy, scratch: Path) -> None:
    path = lazy.add("x", ALONE)
    (scratch / "here").write_text("here\n")
    here = lazy.store.plant("here", scratch / "here")
    lazy.server.close()
    fails(path.stat)
    fails((path / "big").read_bytes)
    assert here.read_text() == "here\n"
    assert os.listdir(lazy.store.root) == [here.name]


def test_a_cache_that_goes_away_and_comes_back(lazy: Lazy) -> None:
    path = lazy.add("x", ALONE)
    assert sorted(os.listdir(path)) == NAMES
    lazy.server.faults["*"] = Fault(raw=b"")
    fails((path / "big").read_bytes)
    assert sorted(os.listdir(path)) == NAMES
    lazy.server.faults.clear()
    wait_until(lambda: _without_errors(lambda: is_right(path), errno.EIO))


def test_all_who_wait_for_a_failure_have_it_at_once(lazy: Lazy) -> None:
    path = lazy.add("x", ALONE)
    assert (path / "big").exists()
    lazy.server.faults[lazy.cache.nar_key("x")] = Fault(silent=True)
    readers = [subprocess.Popen(["cat", path / "big"], stderr=subprocess.PIPE, text=True) for _ in range(10)]
    begun = time.monotonic()
    for reader in readers:
        assert "Input/output error" in reader.communicate()[1]
    assert time.monotonic() - begun < 10, "one after the other, they had waited for twenty time-outs"


ELSEWHERE: dict[str, Damage] = DAMAGE | {
    "narinfo": lambda lazy: lazy.server.faults.update({lazy.cache.key("x"): Fault(status=500)}),
    "listing": lambda lazy: lazy.server.faults.update({lazy.listing_key("x"): Fault(status=500)}),
    "nothing": lambda lazy: lazy.server.faults.update({"*": Fault(status=500)}),
}


@pytest.mark.parametrize("damage", ELSEWHERE)
def test_the_next_cache_is_tried(lazy: Lazy, damage: str) -> None:
    path = lazy.add("x", ALONE, spare=True)
    ELSEWHERE[damage](lazy)
    assert is_right(path)


def test_the_next_cache_is_tried_for_a_tree_without_a_listing(lazy: Lazy) -> None:
    path = lazy.add("x", ALONE, spare=True, listing=False)
    replace_nar(lazy)
    assert is_right(path)


def test_unmounting_does_not_wait_for_a_cache(lazy: Lazy) -> None:
    path = lazy.add("x", ALONE)
    assert (path / "big").exists()
    lazy.server.faults[lazy.cache.nar_key("x")] = Fault(drip=0.05)
    reader = os.fork()
    if not reader:
        try:
            (path / "big").read_bytes()
        finally:
            os._exit(0)  # child
    wait_until(lambda: lazy.cache.nar_key("x") in lazy.server.targets)
    begun = time.monotonic()
    lazy.store.verglas("umount", "--lazy")
    assert time.monotonic() - begun < 14
    lazy.server.faults.clear()
    lazy.server.drop_connections()
    os.waitpid(reader, 0)
    assert path_named("x").base_name not in os.listdir(lazy.store.folder)
