from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from storefs.durable import temporary_name
from storefs.formats.store_path import StoreDir, StorePath
from storefs.gc.roots import LinkedRoots, RootError, add_indirect_root, add_permanent_root, find_roots

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


def test_a_root_that_is_being_made_is_not_removed(scratch: Path) -> None:
    making = Path(temporary_name(f"{scratch}/gcroots/auto/x"))
    link(making, f"{scratch}/not-yet")
    assert found(scratch) == {}
    assert making.is_symlink()
    left = scratch / "gcroots/auto/.tmp-4194304-1-x~"  # greater than any process's number
    link(left, f"{scratch}/not-yet")
    assert found(scratch) == {}
    assert not left.is_symlink()


def test_a_root_that_is_made_while_it_is_removed_comes_back(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link(scratch / "gcroots/auto/x", f"{scratch}/result")
    unlink = os.unlink

    def unlink_after_another_process_made_it(path: str) -> None:
        (scratch / "result").symlink_to(f"/nix/store/{A}")
        unlink(path)

    monkeypatch.setattr(os, "unlink", unlink_after_another_process_made_it)
    assert found(scratch) == {"result": "a"}
    assert (scratch / "gcroots/auto/x").is_symlink()


def test_only_directories_that_changed_are_read_again(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gcroots/a", "gcroots/per-user/u/b", "profiles/system-1-link"):
        link(scratch / name, f"/nix/store/{A}")
    for folder in ("gcroots", "gcroots/per-user", "gcroots/per-user/u", "profiles"):
        os.utime(scratch / folder, (1, 1))
    roots = LinkedRoots(str(scratch), STORE)
    first = list(roots.find())
    assert len(first) == 3
    read: list[str] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (read.append(os.path.relpath(path, scratch)), scan(path))[1])
    assert list(roots.find()) == first
    assert read == []
    link(scratch / "gcroots/per-user/u/c", f"/nix/store/{B}")
    assert {path for path, _ in roots.find()} == {A, B}
    assert read == ["gcroots/per-user/u"]


def test_a_directory_that_changes_twice_in_one_tick_of_the_clock(scratch: Path) -> None:
    roots = LinkedRoots(str(scratch), STORE)
    link(scratch / "gcroots/a", f"/nix/store/{A}")
    then = os.stat(scratch / "gcroots").st_mtime_ns
    assert [path for path, _ in roots.find()] == [A]
    link(scratch / "gcroots/b", f"/nix/store/{B}")
    os.utime(scratch / "gcroots", ns=(then, then))
    assert [path for path, _ in roots.find()] == [A, B]


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
    makers = [threading.Thread(target=make) for _ in range(80)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    stop.set()
    watcher.join()
    assert not failures
    assert not missing, "there was a moment without the root"
    assert sorted(os.listdir(scratch)) == ["result", "state"]
