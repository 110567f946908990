"""What takes the place of a mount is served as it was: options survive a killed process and a replacement."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.fuse.manner import Manner, recall, remember
from tests.storefs.fuse.lazy_mount import Lazy
from tests.storefs.fuse.mounted_store import MountedStore
from tests.storefs.stores.caches import PUBLIC_KEY

if TYPE_CHECKING:
    import logging

pytestmark = [pytest.mark.fuse, pytest.mark.slow]


def kill(store: MountedStore) -> None:
    watcher = os.pidfd_open(int(str(store.status()["pid"])))
    signal.pidfd_send_signal(watcher, signal.SIGKILL)
    select.select([watcher], [], [])
    os.close(watcher)


def memory(store: MountedStore) -> Path:
    return Path(f"{store.verglas_dir}/mounts/options")


@pytest.mark.root  # an ordinary user's `run` has a namespace of its own
def test_a_mount_that_is_repaired_is_served_as_it_was(
    store: MountedStore, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = scratch / "pid"
    monkeypatch.chdir(scratch)
    options = ("--passthrough", "--transport", "kernel", "--pid-file", "pid")
    store.verglas("mount", "--background", *options)
    before = store.status()
    kill(store)
    store.verglas("run", "true")
    after = store.status()
    assert after["pid"] != before["pid"]
    assert (
        after["options"] == before["options"] == ["--transport", "kernel", "--passthrough", "--pid-file", str(pid_file)]
    )
    assert pid_file.read_text() == f"{after['pid']}\n"


def test_a_lazy_mount_that_is_repaired_asks_the_same_caches(scratch: Path) -> None:
    lazy = Lazy(scratch)
    path = lazy.add("a")
    lazy.store.environ["NIX_CONFIG"] = "substituters =\nbuild-users-group =\n"
    settings = ("--option", "substituters", lazy.server.url, "--option", "trusted-public-keys", PUBLIC_KEY)
    try:
        lazy.store.verglas("mount", "--background", "--lazy", *settings)
        kill(lazy.store)
        lazy.store.verglas("mount", "--background")
        assert (path / "bin" / "run").read_text().endswith("this is a\n")
    finally:
        lazy.close()


def test_a_mount_that_is_replaced_is_served_as_it_was_unless_told_how(store: MountedStore) -> None:
    store.verglas("mount", "--background", "--transport", "pyfuse3")
    store.verglas("mount", "--background", "--replace")
    assert store.status()["transport"] == "pyfuse3"
    store.verglas("mount", "--background", "--replace", "--transport", "auto")
    assert (store.status()["transport"], store.status()["options"]) == ("kernel", [])
    assert not memory(store).exists()


def test_a_mount_that_was_unmounted_is_forgotten(store: MountedStore, scratch: Path) -> None:
    store.verglas("mount", "--background", "--passthrough", scratch / "other")
    store.verglas("mount", "--background", "--passthrough")
    assert memory(store).stat().st_mode & 0o777 == 0o600, "settings can be secrets"
    store.verglas("umount")
    store.mount()
    assert store.status()["options"] == []
    assert not memory(store).exists()


def test_without_the_pid_files_folder_it_is_repaired_all_the_same(store: MountedStore, scratch: Path) -> None:
    """Whoever repairs it may be somebody else than who wanted the file: systemd takes its folder away meanwhile."""
    (scratch / "run").mkdir()
    store.verglas("mount", "--background", "--pid-file", scratch / "run" / "pid")
    kill(store)
    (scratch / "run" / "pid").unlink()
    (scratch / "run").rmdir()
    store.mount()
    assert "writing the pid file" in store.log


@pytest.mark.parametrize("text", ["", "[]", "{", '{"@": 1}', '{"@": {"of a later release": 1}}'])
def test_what_cannot_be_understood_is_passed_over(store: MountedStore, text: str) -> None:
    store.mount()
    memory(store).write_text(text.replace("@", str(store.root)))
    found = recall(store.verglas_dir, str(store.root))
    assert found is not None
    assert found.words() == []


def test_what_cannot_be_noted_costs_nothing_else(
    store: MountedStore, expects_warnings: list[logging.LogRecord]
) -> None:
    store.mount()
    memory(store).mkdir()
    remember(store.verglas_dir, str(store.root), Manner(lazy=True))
    assert recall(store.verglas_dir, str(store.root)) is not None
    assert "mounted without options" in expects_warnings[0].getMessage()


def test_nothing_is_recalled_where_no_mount_is(store: MountedStore) -> None:
    assert recall(store.verglas_dir, str(store.root)) is None


def test_settings_are_for_lazy_mounts() -> None:
    assert Manner(settings={"cores": "1"}).words() == []
    assert Manner(lazy=True, settings={"cores": "1"}).words() == ["--lazy", "--option", "cores", "1"]
