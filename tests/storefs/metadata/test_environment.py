from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import pytest

import storefs.durable
from storefs.metadata.environment import DatabaseError, DiskFullError, NewerSchemaError, open_environment
from storefs.metadata.schema import DATABASES, KEY_VERSION, SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.metadata.environment import Environment, Transaction

SMALL = 1 << 20


@pytest.fixture
def env(scratch: Path) -> Iterator[Environment]:
    environment = open_environment(f"{scratch}/db", map_size=SMALL, sync=False)
    yield environment
    environment.close()


def child(scratch: Path, code: str) -> subprocess.Popen[str]:
    """Run ``code`` in another process with the same database open as ``env``."""
    prelude = f"""
import os, sys
from storefs.metadata.environment import open_environment
env = open_environment({str(scratch)!r} + "/db", map_size={SMALL}, sync=False)
def tell(text):
    print(text, flush=True)
"""
    return subprocess.Popen(
        [sys.executable, "-c", prelude + code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_new_database_is_complete(env: Environment) -> None:
    with env.snapshot() as txn:
        assert txn.get(KEY_VERSION, db=env.meta) == SCHEMA_VERSION.to_bytes(4, "little")
        for name in DATABASES:
            txn.stat(getattr(env, name))


def test_an_update_happens_or_not(env: Environment) -> None:
    assert env.update(lambda txn: txn.put(b"k", b"v", db=env.meta))

    def fail(txn: Transaction) -> None:
        txn.put(b"k", b"other", db=env.meta)
        raise KeyError("no")

    with pytest.raises(KeyError):
        env.update(fail)
    with env.snapshot() as txn:
        assert txn.get(b"k", db=env.meta) == b"v"


def test_a_snapshot_sees_one_state(env: Environment) -> None:
    env.update(lambda txn: txn.put(b"k", b"1", db=env.meta))
    with env.snapshot() as txn:
        worker = threading.Thread(target=lambda: env.update(lambda txn: txn.put(b"k", b"2", db=env.meta)))
        worker.start()
        worker.join()
        assert txn.get(b"k", db=env.meta) == b"1"
    with env.snapshot() as txn:
        assert txn.get(b"k", db=env.meta) == b"2"


def test_names_are_durable_before_anything_is_committed(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a process that finds the first commit could add to a store whose name a power cut takes away."""
    synced = []
    file = scratch / "state/verglas/db/data.mdb"

    def sync_directory(path: str) -> None:
        synced.append((os.path.relpath(path, scratch), file.stat().st_size))

    monkeypatch.setattr(storefs.durable, "sync_directory", sync_directory)
    open_environment(str(file.parent), map_size=SMALL).close()
    empty = synced[0][1]
    assert synced == [(name, empty) for name in ("state/verglas/db", "state/verglas", "state")]
    assert file.stat().st_size > empty
    open_environment(str(file.parent), map_size=SMALL).close()
    assert len(synced) == 3, "not of a database that is there"


def test_the_map_grows_unseen(env: Environment) -> None:
    big = bytes(100_000)
    for number in range(40):
        env.update(lambda txn, number=number: txn.put(b"%d" % number, big, db=env.meta))  # type: ignore[misc]
    assert env.map_size > SMALL
    with env.snapshot() as txn:
        assert all(txn.get(b"%d" % number, db=env.meta) == big for number in range(40))


def test_the_map_grows_while_others_read(env: Environment) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                with env.snapshot() as txn:
                    txn.get(b"0", db=env.meta)
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(8):
        env.update(lambda txn, number=number: txn.put(b"%d" % number, bytes(200_000), db=env.meta))  # type: ignore[misc]
    stop.set()
    reader.join()
    assert not failures
    assert env.map_size > SMALL


@pytest.mark.slow
def test_a_map_that_another_process_grew(env: Environment, scratch: Path) -> None:
    with child(
        scratch,
        "for n in range(30): env.update(lambda txn: txn.put(b'%d' % n, bytes(100_000), db=env.meta))\n",
    ) as other:
        assert other.wait() == 0
    with env.snapshot() as txn:
        assert txn.get(b"29", db=env.meta) == bytes(100_000)
    env.update(lambda txn: txn.put(b"more", b"x", db=env.meta))


@pytest.mark.slow
def test_readers_that_were_killed_are_forgotten(env: Environment, scratch: Path) -> None:
    with child(scratch, "txn = env.begin_read(False); tell('ready'); sys.stdin.read()\n") as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        assert str(other.pid) in env.readers
        other.send_signal(signal.SIGKILL)
        other.wait()
    with child(scratch, "env.update(lambda txn: txn.put(b'k', b'v', db=env.meta))\n") as third:
        assert third.wait() == 0
    assert str(other.pid) not in env.readers


@pytest.mark.slow
def test_whoever_writes_again_and_again_can_give_way(env: Environment, scratch: Path) -> None:
    """Who waits for the lock has it before one update of many rather than after all of them."""
    theirs = 20
    code = f"""
tell("ready")
for number in range({theirs}):
    env.update(lambda txn: txn.put(b"turn", b"%d" % number, db=env.meta))
"""
    turns = []
    with child(scratch, code) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        for _ in range(10 * theirs):
            turns.append(env.update(lambda txn: txn.get(b"turn", db=env.meta)))
            env.give_way()
    assert other.returncode == 0
    assert turns[-1] == b"%d" % (theirs - 1)


@pytest.mark.slow
def test_a_full_table_of_readers(env: Environment, scratch: Path) -> None:
    """Living readers are an error that says so; those of a killed process make room."""
    code = """
from storefs.metadata.environment import DatabaseError
held = []
try:
    while True:
        held.append(env.begin_read(False))
except DatabaseError as error:
    tell(f"{len(held)} {error}")
sys.stdin.read()
"""
    with child(scratch, code) as other:
        assert other.stdout is not None
        count, _, message = other.stdout.readline().partition(" ")
        assert int(count) >= 1000
        assert "programs read the store database" in message
        with pytest.raises(DatabaseError), env.snapshot():
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    with env.snapshot() as txn:
        assert txn.get(KEY_VERSION, db=env.meta)
    env.update(lambda txn: txn.put(b"k", b"v", db=env.meta))


def test_two_opens_in_a_process_share_one(env: Environment, scratch: Path) -> None:
    again = open_environment(f"{scratch}/db")
    assert again is env
    again.close()
    env.update(lambda txn: txn.put(b"k", b"v", db=env.meta))


def test_a_newer_format_is_refused(scratch: Path) -> None:
    env = open_environment(f"{scratch}/db", map_size=SMALL)
    newer = (SCHEMA_VERSION + 1).to_bytes(4, "little")
    env.update(lambda txn: txn.put(KEY_VERSION, newer, db=env.meta))
    env.close()
    with pytest.raises(NewerSchemaError, match="upgrade verglas"):
        open_environment(f"{scratch}/db", map_size=SMALL)


def test_a_file_that_is_no_database_is_refused(scratch: Path) -> None:
    (scratch / "db").mkdir()
    (scratch / "db" / "data.mdb").write_bytes(b"this is no database" * 1000)
    with pytest.raises(DatabaseError, match="damaged"):
        open_environment(f"{scratch}/db", map_size=SMALL)


@pytest.mark.slow
def test_a_small_address_space_suffices(scratch: Path) -> None:
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, (1_000_000 * 1024, resource.RLIM_INFINITY))
from storefs.metadata.environment import open_environment
env = open_environment({str(scratch)!r} + "/db")
env.update(lambda txn: txn.put(b"k", b"v", db=env.meta))
assert env.map_size < 1_000_000 * 1024
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.root
def test_a_full_disk_is_a_clear_error(scratch: Path) -> None:
    disk = scratch / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    try:
        env = open_environment(f"{disk}/db", map_size=64 << 20)
        try:
            with pytest.raises(DiskFullError, match="no space left"):
                for number in range(100):
                    env.update(lambda txn, number=number: txn.put(b"%d" % number, bytes(100_000), db=env.meta))  # type: ignore[misc]
            with env.snapshot() as txn:
                before = txn.stat(env.meta)["entries"]
            env.update(lambda txn: txn.delete(b"0", db=env.meta))
            with env.snapshot() as txn:
                assert txn.stat(env.meta)["entries"] == before - 1
        finally:
            env.close()
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.root
def test_whoever_may_not_write_can_still_read(scratch: Path) -> None:
    env = open_environment(f"{scratch}/db", map_size=SMALL)
    env.update(lambda txn: txn.put(b"k", b"v", db=env.meta))
    env.close()
    for path in (scratch, scratch / "db", scratch / "db" / "data.mdb", scratch / "db" / "lock.mdb"):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
    code = f"""
import os
from storefs.metadata.environment import DatabaseError, open_environment
os.setuid(65534)  # after the imports: the checkout may be where only root can read
env = open_environment({str(scratch)!r} + "/db", map_size={SMALL})
with env.snapshot() as txn:
    assert txn.get(b"k", db=env.meta) == b"v"
try:
    env.update(lambda txn: None)
except DatabaseError as error:
    assert "may not change" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_an_error_is_told_also_where_the_folder_is_gone(env: Environment, scratch: Path) -> None:
    def fails(txn: Transaction) -> None:
        raise lmdb.Error("mdb_get: Stale file handle")

    os.rename(env.path, scratch / "elsewhere")
    with pytest.raises(DatabaseError, match=f"'{scratch}/db' can't be used: mdb_get: Stale file handle"):
        env.update(fails)
