"""What is on its way to the disk before anybody waits for it, as the kernel is asked."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storefs.castore.blobs import BlobStore
from storefs.castore.write_behind import WriteBehind
from tests.threads import no_new_threads

PROGRAM = """
import sys
from storefs.castore.blobs import BlobStore
from storefs.castore.write_behind import WriteBehind
behind = WriteBehind(BlobStore(sys.argv[1]), sys.argv[1])
for path, size in zip(sys.argv[2::2], sys.argv[3::2]):
    behind.wrote(path, int(size))
assert behind.finish() is None
assert behind.finish() is None
"""


needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)"
)


def system_calls(scratch: Path, *arguments: str) -> str:
    log = scratch / "log"
    subprocess.run(
        [
            "strace",
            "-f",
            "-o",
            log,
            "-e",
            "trace=fsync,syncfs,sync_file_range",
            sys.executable,
            "-c",
            PROGRAM,
            *arguments,
        ],
        check=True,
    )
    return log.read_text()


@needs_strace
def test_large_files_are_asked_for_one_by_one(scratch: Path) -> None:
    file = scratch / "large"
    file.write_bytes(bytes(1 << 20))
    log = system_calls(scratch, str(scratch), str(file), str(1 << 20), str(file), "100")
    assert log.count("sync_file_range(") == 1
    assert "syncfs(" not in log


@needs_strace
def test_small_files_are_asked_for_together_before_the_addition_syncs(scratch: Path) -> None:
    """An addition writes rows after some 50 MB of them: the disk has to have begun by then."""
    few, some = (
        system_calls(scratch, str(scratch), *["small", str(500 << 10)] * (megabytes * 2)) for megabytes in (25, 40)
    )
    assert "sync" not in few
    assert re.findall("fsync|syncfs|sync_file_range", some) == ["syncfs"]


@needs_strace
def test_the_disk_empties_its_cache_now_and_then(scratch: Path) -> None:
    file = scratch / "large"
    file.write_bytes(bytes(1 << 20))
    log = system_calls(scratch, str(scratch), *[str(file), str(16 << 20)] * 9)
    assert re.findall("fsync|sync_file_range", log) == [*["sync_file_range"] * 3, "fsync"] * 2 + ["sync_file_range"]


WAITING = """
import sys
from _thread import allocate_lock, start_new_thread
from storefs.castore.blobs import BlobStore
from storefs.castore.write_behind import WriteBehind
behind = WriteBehind(BlobStore(sys.argv[1]), sys.argv[1])
behind.begin_sync_all()()
behind.settle()
for _ in range(66):
    behind.wrote("small", 1 << 19)
done = [allocate_lock() for _ in range(20)]
def wait(lock):
    behind.begin_sync_all()()
    lock.release()
for lock in done:
    lock.acquire()
    start_new_thread(wait, (lock,))
for lock in done:
    lock.acquire()
behind.settle()
assert behind.finish() is None
"""


@needs_strace
def test_all_who_wait_are_answered_together(scratch: Path) -> None:
    """Once without the thread, once for what was told, and twice at most for twenty who come while that goes on."""
    log = scratch / "log"
    subprocess.run(
        # Each takes a tenth of a second, so that all of them have come when the first is over.
        ["strace", "-f", "-o", log, "-e", "trace=syncfs", "-e", "inject=syncfs:delay_enter=100000",
         sys.executable, "-c", WAITING, str(scratch)],
        check=True,
    )  # fmt: skip
    assert re.findall("syncfs\\(", log.read_text()) in (["syncfs("] * 3, ["syncfs("] * 4)


def test_who_waits_is_told_of_a_failure(scratch: Path) -> None:
    behind = WriteBehind(BlobStore(str(scratch)), str(scratch))
    behind.wrote(str(scratch / "gone"), 1 << 20)
    with pytest.raises(FileNotFoundError):
        behind.settle()
    with pytest.raises(FileNotFoundError):
        behind.begin_sync_all()()
    assert isinstance(behind.finish(), FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        behind.settle()


def test_what_was_counted_while_it_grew_is_not_counted_again(scratch: Path) -> None:
    store = BlobStore(str(scratch))
    behind = WriteBehind(store, str(scratch))
    file = scratch / "large"
    file.touch()
    behind.growing(str(file), 32 << 20)
    behind.wrote(str(file), 33 << 20)
    assert store.cached == 33 << 20
    behind.wrote(str(file), 2 << 20)
    assert store.cached == 35 << 20
    assert behind.finish() is None


@needs_strace
def test_many_small_files_are_asked_for_together(scratch: Path) -> None:
    small = [word for _ in range(129 * 2) for word in (str(scratch / "small"), str(1 << 19))]
    log = system_calls(scratch, str(scratch), *small)
    assert log.count("syncfs(") == 1
    assert "sync_file_range(" not in log


def test_a_failure_is_told_at_the_end(scratch: Path) -> None:
    behind = WriteBehind(BlobStore(str(scratch)), str(scratch))
    behind.wrote(str(scratch / "gone"), 1 << 20)
    error = behind.finish()
    assert isinstance(error, FileNotFoundError)


def test_where_no_thread_can_be_made_nobody_waits_for_one(scratch: Path) -> None:
    behind = WriteBehind(BlobStore(str(scratch)), str(scratch))
    with no_new_threads(), pytest.raises(RuntimeError):
        behind.wrote(str(scratch / "large"), 1 << 20)
    assert behind.finish() is None


def test_nothing_runs_for_a_small_addition(scratch: Path) -> None:
    tasks = os.listdir("/proc/self/task")
    behind = WriteBehind(BlobStore(str(scratch)), str(scratch))
    behind.wrote(str(scratch / "small"), 100)
    assert os.listdir("/proc/self/task") == tasks
    assert behind.finish() is None


def test_nothing_is_asked_for_where_nobody_will_wait(scratch: Path) -> None:
    behind = WriteBehind(BlobStore(str(scratch), synced=False), str(scratch))
    behind.wrote(str(scratch / "gone"), 1 << 20)
    behind.growing(str(scratch / "gone"), 32 << 20)
    assert behind.finish() is None


def test_a_file_that_grew_and_got_its_name_is_no_error(scratch: Path) -> None:
    behind = WriteBehind(BlobStore(str(scratch)), str(scratch))
    behind.growing(str(scratch / "renamed meanwhile"), 32 << 20)
    behind.growing(str(scratch / "renamed meanwhile"), 32 << 20)
    assert behind.finish() is None
