from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from storefs.formats.store_path import StoreDir, StorePath
from storefs.gc.roots import RootError, add_indirect_root, add_permanent_root, find_roots

HASH = "0" * 32
STORE = StoreDir("/nix/store")
A, B = StorePath(f"{HASH}-a"), StorePath(f"{HASH}-b")


def found(state: Path) -> dict[str, str]:
    return {os.path.relpath(link, state): path.name for path, link in find_roots(str(state), STORE)}


def link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def test_links_at_any_depth_are_roots(scratch: Path) -> None:
    link(scratch / "gcroots/a", f"/nix/store/{A}")
    link(scratch / "gcroots/per-user/u/hydra-roots/b", f"/nix/store/{B}/bin/sh")
    link(scratch / "profiles/system-1-link", f"/nix/store/{A}")
    link(scratch / "profiles/system", "system-1-link")
    (scratch / f"gcroots/{B}").touch()
    (scratch / "gcroots/readme").touch()
    assert found(scratch) == {
        "gcroots/a": "a",
        "gcroots/per-user/u/hydra-roots/b": "b",
        "profiles/system-1-link": "a",
        f"gcroots/{B}": "b",
    } | {"profiles/system-1-link": "a"}


def test_what_leads_elsewhere_is_none(scratch: Path) -> None:
    link(scratch / "gcroots/etc", "/etc")
    link(scratch / "gcroots/dangling", "nowhere")
    link(scratch / "gcroots/loop", "loop")
    link(scratch / "gcroots/odd", "/nix/store/not-a-path")
    assert found(scratch) == {}
    assert (scratch / "gcroots/dangling").is_symlink(), "only automatic roots are cleared"


def test_indirect_roots_end_with_their_link(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = add_indirect_root(f"{scratch}/state", STORE, f"{scratch}/sub/result", A)
    assert made == f"{scratch}/sub/result"
    assert os.readlink(made) == f"/nix/store/{A}"
    roots = list(find_roots(f"{scratch}/state", STORE))
    assert roots == [(A, made)]
    os.unlink(made)
    assert list(find_roots(f"{scratch}/state", STORE)) == []
    assert "removing stale link" in capsys.readouterr().err
    assert os.listdir(scratch / "state/gcroots/auto") == []


def test_a_link_to_elsewhere_in_the_store_is_replaced(scratch: Path) -> None:
    for path in (A, B):
        add_permanent_root(STORE, f"{scratch}/gcroots/x", path)
        assert os.readlink(scratch / "gcroots/x") == f"/nix/store/{path}"
    assert sorted(os.listdir(scratch / "gcroots")) == ["x"]


def test_nothing_else_is_replaced(scratch: Path) -> None:
    (scratch / "file").touch()
    (scratch / "dir").mkdir()
    (scratch / "other").symlink_to("/etc")
    for name in ("file", "dir", "other"):
        with pytest.raises(RootError, match="already exists"):
            add_indirect_root(f"{scratch}/state", STORE, f"{scratch}/{name}", A)
    with pytest.raises(RootError, match="in the Nix store is forbidden"):
        add_indirect_root(f"{scratch}/state", STORE, f"/nix/store/{A}/result", A)


def test_parallel_makers_of_one_root_all_succeed(scratch: Path) -> None:
    failures: list[BaseException] = []
    missing = []
    target = f"{scratch}/result"
    add_indirect_root(f"{scratch}/state", STORE, target, A)
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            try:
                os.readlink(target)
            except OSError as error:
                missing.append(error)

    def make() -> None:
        try:
            add_indirect_root(f"{scratch}/state", STORE, target, B)
        except BaseException as error:
            failures.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    makers = [threading.Thread(target=make) for _ in range(10)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    stop.set()
    watcher.join()
    assert not failures
    assert not missing, "there was a moment without the root"
    assert sorted(os.listdir(scratch)) == ["result", "state"]
