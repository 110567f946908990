"""The life of a mount: begun, replaced, killed, repaired, ended, and what it says when it can't be."""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storefs.metadata.schema import KEY_VERSION
from storefs.stores.mount_table import Mount, is_alive, mount_at, mounts, store_mounts
from tests.ordinary_user import ROOT
from tests.storefs.fuse.mounted_store import MountedStore
from tests.storefs.fuse.planting import Garden

pytestmark = [pytest.mark.fuse, pytest.mark.slow]


@pytest.fixture
def hello(store: MountedStore, scratch: Path) -> Path:
    (scratch / "hello").write_text("hello\n")
    return store.plant("hello", scratch / "hello")


def wait_for_end(pid: int) -> None:
    try:
        watcher = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([watcher], [], [], 60)[0], f"process {pid} did not end"
    finally:
        os.close(watcher)


def pid_of(store: MountedStore) -> int:
    return int(str(store.status()["pid"]))


def test_background_returns_when_it_can_be_read(store: MountedStore, hello: Path) -> None:
    store.mount()
    assert hello.read_text() == "hello\n"


def test_umount_waits_for_the_process_to_end(store: MountedStore, hello: Path) -> None:
    store.mount()
    pid = pid_of(store)
    watcher = os.pidfd_open(pid)
    store.verglas("umount")
    assert select.select([watcher], [], [], 0)[0], "it runs still"
    os.close(watcher)
    assert os.listdir(store.root) == []
    assert os.listdir(f"{store.verglas_dir}/mounts") == ["lock"]
    assert "not mounted" in store.verglas("umount")


def test_umount_says_that_it_is_in_use(store: MountedStore, hello: Path) -> None:
    store.mount()
    with open(hello) as file:
        assert "is in use by a program" in store.verglas("umount", status=1)
        pid = pid_of(store)
        store.verglas("umount", "--lazy")
        assert mount_at(str(store.root)) is None
        assert file.read() == "hello\n"
    wait_for_end(pid)


def test_a_killed_process_leaves_a_dead_mount_that_is_repaired(store: MountedStore, hello: Path) -> None:
    store.mount()
    pid = pid_of(store)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)
    with pytest.raises(OSError) as caught:
        os.listdir(store.root)
    assert caught.value.errno == errno.ENOTCONN, "dead, never empty"
    store.mount()
    assert hello.read_text() == "hello\n"
    assert sum(mount.target == str(store.root) for mount in mounts()) == 1, "the dead one is gone"
    assert len(os.listdir(f"{store.verglas_dir}/mounts")) == 3, "the dead socket is known by its silence only"
    store.status()
    assert len(os.listdir(f"{store.verglas_dir}/mounts")) == 2


def test_status_tells_a_dead_mount_from_none(store: MountedStore, hello: Path) -> None:
    store.mount()
    pid = pid_of(store)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)
    assert f"{store.root}\n  dead: " in store.verglas("mount", "--status", status=1)
    (dead,) = json.loads(store.verglas("mount", "--status", "--json"))
    assert (dead["ok"], dead["target"]) == (False, str(store.root))


def test_a_process_that_is_stopped_holds_nobody_up_who_unmounts_lazily(store: MountedStore, hello: Path) -> None:
    store.mount()
    pid = pid_of(store)
    os.kill(pid, signal.SIGSTOP)
    try:
        store.verglas("umount", "--lazy")
        assert mount_at(str(store.root)) is None
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for_end(pid)


def test_umount_takes_a_dead_mount_away(store: MountedStore, hello: Path) -> None:
    store.mount()
    pid = pid_of(store)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)
    store.verglas("umount")
    assert mount_at(str(store.root)) is None


@pytest.mark.root  # fusermount3 can't put a mount beneath another one: without root the directory is bare for a moment
def test_replacing_never_shows_the_empty_directory_and_breaks_no_reader(
    store: MountedStore, hello: Path, scratch: Path
) -> None:
    (scratch / "big").write_bytes(os.urandom(2_000_000))
    big = store.plant("big", scratch / "big")
    store.mount()
    first = pid_of(store)
    watcher = subprocess.Popen(
        ["sh", "-c", f"echo on; while test -e {hello}; do :; done; echo missing"], stdout=subprocess.PIPE, text=True
    )
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "on\n"
    with open(big, "rb", buffering=0) as file:
        last = first
        for _ in range(3):
            store.verglas("mount", "--background", "--replace")
            pid = next(
                int(str(answer["pid"]))
                for answer in json.loads(store.verglas("mount", "--status", "--json"))
                if answer["mounted"]
            )
            assert pid != last
            last = pid
            assert sum(mount.target == str(store.root) for mount in mounts()) == 1
        assert watcher.poll() is None, "the store was missing for a moment"
        assert file.readall() == (scratch / "big").read_bytes(), "served by the first process"
        assert Path(f"/proc/{first}").exists()
    wait_for_end(first)
    watcher.kill()
    watcher.communicate()


@pytest.mark.parametrize("transport", ["kernel", "pyfuse3"])
def test_a_mount_whose_state_was_deleted_is_replaced(
    store: MountedStore, hello: Path, scratch: Path, transport: str
) -> None:
    store.verglas("mount", "--background", "--transport", transport)
    first = pid_of(store)
    store.garden.close()
    shutil.rmtree(scratch / "state")
    store.garden = Garden(store.verglas_dir)
    again = store.plant("again", scratch / "hello")
    assert os.listdir(store.root) == [hello.name], "of the state that is gone"
    with pytest.raises(OSError, match="Stale file handle"):
        os.statvfs(store.root)
    store.mount()
    assert os.listdir(store.root) == [again.name]
    assert len(store_mounts(store.verglas_dir)) == 1
    wait_for_end(first)


def test_umount_takes_away_what_serves_a_deleted_state(store: MountedStore, hello: Path, scratch: Path) -> None:
    store.mount()
    first = pid_of(store)
    shutil.rmtree(scratch / "state")
    store.verglas("umount")
    assert mount_at(str(store.root)) is None
    wait_for_end(first)


def test_a_second_mount_says_what_to_do(store: MountedStore, hello: Path) -> None:
    store.mount()
    assert "mounted on" in store.verglas("mount", "--background", status=1)
    assert store.verglas("mount", "--background", "--if-needed") == ""
    assert len(store_mounts(store.verglas_dir)) == 1


def test_two_at_once_make_one_mount(store: MountedStore, hello: Path) -> None:
    from tests.conftest import BIN

    command = [BIN / "verglas", "mount", "--background", "--if-needed"]
    starters = [subprocess.Popen(command, env=store.environ, stderr=subprocess.PIPE) for _ in range(4)]
    results = [(starter.communicate()[1], starter.returncode) for starter in starters]
    assert [status for _, status in results] == [0] * 4, results
    assert len(store_mounts(store.verglas_dir)) == 1
    assert hello.read_text() == "hello\n"


@pytest.mark.root
def test_what_is_somebody_elses_is_not_mounted_over(store: MountedStore) -> None:
    store.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "mine", store.root], check=True)
    try:
        assert "something else is mounted" in store.verglas("mount", "--background", status=1)
    finally:
        subprocess.run(["umount", store.root], check=True)


def test_a_foreign_store_is_told_apart(store: MountedStore, scratch: Path) -> None:
    other = MountedStore(scratch / "other")
    other.environ["NIX_STORE_DIR"] = str(store.root)
    store.mount()
    try:
        assert "something else is mounted" in other.verglas("mount", "--background", status=1)
        assert store_mounts(other.verglas_dir) == []
    finally:
        other.garden.close()


def test_a_failure_is_told_where_the_user_is(store: MountedStore, scratch: Path) -> None:
    (scratch / "file").write_text("")
    assert "mount point" in store.verglas("mount", "--background", scratch / "file" / "x", status=1)
    assert "is a file" in store.verglas("mount", "--background", scratch / "file", status=1)
    assert "transport 'x'" in store.verglas("mount", "--transport", "x", status=1)
    for other in (("--lazy",), ("--transport", "pyfuse3")):
        assert "only transport 'kernel' passes files through" in store.verglas(
            "mount", "--passthrough", *other, status=1
        )
    assert store_mounts(store.verglas_dir) == []


@pytest.mark.parametrize("transport", ["kernel", "pyfuse3"])
def test_a_pid_file_that_cannot_be_written_is_told_and_nothing_stays_mounted(
    store: MountedStore, hello: Path, scratch: Path, transport: str
) -> None:
    pid_file = scratch / "no-such-folder" / "pid"
    for background in ((), ("--background",)):
        text = store.verglas("mount", "--transport", transport, "--pid-file", pid_file, *background, status=1)
        assert text == f"error: writing the pid file '{pid_file}': No such file or directory\n"
        assert store_mounts(store.verglas_dir) == []


def test_what_lies_in_the_store_directory_is_hidden_only_for_who_names_it(store: MountedStore, hello: Path) -> None:
    theirs = store.root / "of-another-nix"
    theirs.mkdir(parents=True)
    assert "perhaps another Nix's store" in store.verglas("mount", "--background", status=1)
    assert theirs.exists()
    store.verglas("mount", "--background", store.root)
    assert hello.read_text() == "hello\n"
    assert store.verglas("mount", "--background", "--if-needed") == ""


def test_a_database_of_a_newer_release_replaces_nothing(store: MountedStore, hello: Path) -> None:
    store.mount()
    env = store.garden.environment
    version = env.update(lambda txn: txn.pop(KEY_VERSION, db=env.meta))
    env.update(lambda txn: txn.put(KEY_VERSION, (99).to_bytes(4, "little"), db=env.meta))
    assert "upgrade verglas" in store.verglas("mount", "--background", "--replace", status=1)
    assert "upgrade verglas" in store.verglas("mount", "--background", store.folder / "second", status=1)
    assert hello.read_text() == "hello\n"
    assert [mount.target for mount in store_mounts(store.verglas_dir)] == [str(store.root)]
    env.update(lambda txn: txn.put(KEY_VERSION, version, db=env.meta))


@pytest.mark.root
def test_without_a_device_the_error_says_so(store: MountedStore) -> None:
    from tests.conftest import BIN

    script = f"mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; exec {BIN}/verglas mount --background"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], env=store.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: '/dev/fuse' does not exist; load the kernel module")


def test_terminating_detaches_and_serves_until_unused(store: MountedStore, hello: Path) -> None:
    store.mount()
    pid = pid_of(store)
    with open(hello) as file:
        os.kill(pid, signal.SIGTERM)
        while mount_at(str(store.root)) is not None:
            select.select([], [], [], 0.001)
        os.kill(pid, signal.SIGTERM)
        assert file.read() == "hello\n"
    wait_for_end(pid)


def test_inodes_are_the_same_after_a_remount(store: MountedStore, hello: Path) -> None:
    store.mount()
    before = os.stat(hello)
    store.verglas("umount")
    store.mount()
    after = os.stat(hello)
    assert (before.st_ino, before.st_nlink, before.st_mtime_ns) == (after.st_ino, after.st_nlink, after.st_mtime_ns)


def test_several_directories_at_once(store: MountedStore, hello: Path, scratch: Path) -> None:
    store.mount()
    store.verglas("mount", "--background", scratch / "second")
    assert (scratch / "second" / hello.name).read_text() == "hello\n"
    store.collect(hello)
    assert not (scratch / "second" / hello.name).exists()
    store.verglas("umount", scratch / "second")
    assert is_alive(str(store.root))


def test_status_shows_counters(store: MountedStore, hello: Path) -> None:
    assert "not mounted" in store.verglas("mount", "--status", status=1)
    store.mount()
    hello.read_text()
    text = store.verglas("mount", "--status")
    assert str(store.root) in text
    assert "requests lookup" in text
    assert json.loads(store.verglas("mount", "--status", "--json"))[0]["transport"] == "kernel"


def test_a_long_state_directory_has_room_for_sockets(scratch: Path) -> None:
    store = MountedStore(scratch / ("d" * 100) / ("e" * 100))
    try:
        store.mount()
        assert store.status()["ok"]
        store.verglas("umount")
    finally:
        store.garden.close()


MANY_CYCLES = """
import os, sys
from storefs.fuse.background import run_in_background
from storefs.fuse.mount import MountOptions, mount_and_serve
from storefs.fuse.unmount import unmount_store
from tests import leaks

verglas_dir, target, file, count = *sys.argv[1:4], int(sys.argv[4])

def serve(ready):
    mount_and_serve(verglas_dir, target, MountOptions(), ready)
    return 0

def cycle():
    run_in_background(serve, f"{verglas_dir}/mount.log")
    with open(file) as hello:
        assert hello.read() == "hello\\n"
    unmount_store(target, verglas_dir, lazy=False)
    assert os.wait()[1] == 0

leaks.adopt_orphans()
cycle()
before = leaks.open_descriptors()
for _ in range(count):
    cycle()
assert leaks.open_descriptors() == before
assert leaks.child_processes() == {}
"""


def test_many_cycles_leak_nothing(store: MountedStore, hello: Path, pytestconfig: pytest.Config) -> None:
    cycles = 10_000 if pytestconfig.getoption("--deep") else 50
    # One process makes and ends them all, or starting Python would take most of the time.
    arguments = [store.verglas_dir, store.root, hello, str(cycles)]
    subprocess.run([sys.executable, "-c", MANY_CYCLES, *arguments], cwd=ROOT, check=True)
    assert Path(f"{store.verglas_dir}/mount.log").read_text() == ""
    assert [mount.target for mount in mounts() if mount.target.startswith(str(store.folder))] == []
    assert os.listdir(f"{store.verglas_dir}/mounts") == ["lock"]


def test_a_line_of_the_mount_table_is_understood() -> None:
    line = "36 35 98:0 /mnt\\0401 /mnt\\011two rw,noatime master:1 - fuse.verglas /a\\134b ro,errors=continue\n"
    mount = Mount(line)
    assert (mount.device, mount.root, mount.target) == ("98:0", "/mnt 1", "/mnt\ttwo")
    assert (mount.kind, mount.source, mount.super_options) == ("fuse.verglas", "/a\\b", "ro,errors=continue")
