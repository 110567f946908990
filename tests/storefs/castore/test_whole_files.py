from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.variants import VARIANTS, variant

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(params=VARIANTS)
def files(request: pytest.FixtureRequest) -> ModuleType:
    return variant("storefs.castore.whole_files", request.param)


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 100_000])
def test_a_file_is_written_and_read(files: ModuleType, scratch: Path, size: int) -> None:
    content = os.urandom(size)
    path = os.fsencode(scratch / "file")
    files.write_new(path, content, 0o444)
    mode, links, length, found = files.read_whole(path, 100_000)
    assert (mode, links, length, found) == (stat.S_IFREG | 0o444, 1, size, content)
    os.link(path, path + b"2")
    assert files.read_whole(path, 100_000)[1] == 2
    assert (files.read_whole(path, 16384) is None) == (size > 16384)


def test_contents_may_be_any_buffer(files: ModuleType, scratch: Path) -> None:
    for number, content in enumerate((bytearray(b"abc"), memoryview(b"abcd")[:3])):
        path = os.fsencode(scratch / str(number))
        files.write_new(path, content, 0o600)
        assert files.read_whole(path, 10)[3] == b"abc"


def test_what_is_no_file_is_not_read(files: ModuleType, scratch: Path) -> None:
    os.mkfifo(scratch / "pipe")
    assert files.read_whole(os.fsencode(scratch / "pipe"), 10) is None
    assert files.read_whole(os.fsencode(scratch), 1 << 20) is None


def test_errors_are_those_of_the_system(files: ModuleType, scratch: Path) -> None:
    (scratch / "link").symlink_to("file")
    (scratch / "file").touch()
    descriptors = len(os.listdir("/proc/self/fd"))
    for name, code in (("missing", errno.ENOENT), ("link", errno.ELOOP)):
        with pytest.raises(OSError) as caught:
            files.read_whole(os.fsencode(scratch / name), 10)
        assert caught.value.errno == code
    with pytest.raises(FileExistsError):
        files.write_new(os.fsencode(scratch / "file"), b"", 0o444)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_file_that_is_cut_short_gives_what_there_is(files: ModuleType) -> None:
    # A file of the kernel says a page and has less.
    mode, _, size, content = files.read_whole(b"/sys/kernel/uevent_seqnum", 1 << 20)
    assert stat.S_ISREG(mode)
    assert len(content) < size


INTERRUPTED = """
import os, sys
from storefs.castore.whole_files import read_whole, write_new
path = os.fsencode(sys.argv[1])
write_new(path, bytes(100_000), 0o444)
assert len(read_whole(path, 1 << 20)[3]) == 100_000
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
@pytest.mark.parametrize("call", ["openat", "read", "write"])
def test_a_call_that_a_signal_ended_is_made_again(scratch: Path, call: str) -> None:
    """As Python does it since PEP 475. Servers of file systems, ours among them, answer so."""
    path = str(scratch / "file")
    tracer = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-P",
        path,
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:error=EINTR:when=1+2",
    ]
    subprocess.run([*tracer, sys.executable, "-c", INTERRUPTED, path], check=True)
