"""The leak checks see what they are there for, and clear it away."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests import leaks

if TYPE_CHECKING:
    from pathlib import Path


def test_a_descriptor_left_open_is_seen() -> None:
    before = leaks.Snapshot(())
    fd = os.open("/dev/null", os.O_RDONLY)
    assert before.leaks() == [f"descriptor {fd}: /dev/null"]
    os.close(fd)
    assert before.leaks() == []


def test_a_process_left_running_is_seen_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "GRACE_SECONDS", 0.0)
    before = leaks.Snapshot(())
    child = subprocess.Popen(["/bin/sleep", "1000"])
    (leak,) = before.leaks()
    assert leak.startswith(f"process {child.pid}: ")
    assert child.wait() == -signal.SIGKILL


def test_a_daemon_that_left_its_parent_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "GRACE_SECONDS", 0.0)
    before = leaks.Snapshot(())
    started = subprocess.run(["/bin/sh", "-c", "sleep 1000 >/dev/null & echo $!"], stdout=subprocess.PIPE, check=True)
    (leak,) = before.leaks()
    assert leak.startswith(f"process {int(started.stdout)}: ")


def test_a_process_that_is_about_to_end_is_waited_for() -> None:
    before = leaks.Snapshot(())
    reader, writer = os.pipe()
    child = subprocess.Popen(["/bin/cat"], stdin=reader)
    os.close(reader)
    os.close(writer)
    assert before.leaks() == []
    child.wait()


@pytest.mark.root
def test_a_mount_is_seen_and_removed(tmp_path: Path) -> None:
    before = leaks.Snapshot((str(tmp_path),))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"none", os.fsencode(tmp_path), b"tmpfs", 0, None) == 0, os.strerror(ctypes.get_errno())
    assert before.leaks() == [f"mount: {tmp_path}"]
    assert not os.path.ismount(tmp_path)


@pytest.mark.root
def test_a_mount_of_others_is_left_alone(tmp_path: Path, scratch: Path) -> None:
    assert scratch.name.startswith(f"vg-{os.getpid()}-"), "another worker's is told apart"
    before = leaks.Snapshot((str(scratch),))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"none", os.fsencode(tmp_path), b"tmpfs", 0, None) == 0, os.strerror(ctypes.get_errno())
    assert before.leaks() == []
    assert os.path.ismount(tmp_path)
    assert libc.umount2(os.fsencode(tmp_path), 0) == 0


def test_warnings_can_be_expected(expects_warnings: list[logging.LogRecord]) -> None:
    logging.getLogger("anything").warning("seen")
    assert [record.getMessage() for record in expects_warnings] == ["seen"]


def test_the_network_is_out_of_reach() -> None:
    import socket

    with socket.socket() as connection, pytest.raises(OSError):
        connection.connect(("192.0.2.1", 80))  # TEST-NET-1, RFC 5737
