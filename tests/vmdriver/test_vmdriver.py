"""The parts of the driver for virtual machines that need no machine."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "vm-tests"))

from vmdriver.console import Console  # noqa: E402
from vmdriver.errors import VmTestError  # noqa: E402
from vmdriver.hardware import find_qemu  # noqa: E402
from vmdriver.image import Archive, find_kernel, needed_modules  # noqa: E402
from vmdriver.keyboard import CHARACTERS  # noqa: E402
from vmdriver.network import Switch  # noqa: E402
from vmdriver.page import index, page  # noqa: E402
from vmdriver.report import Outcome, Report  # noqa: E402

TOOLS = "/usr/sbin:/usr/bin:/sbin:/bin"


def test_an_archive_is_what_cpio_reads(scratch: Path) -> None:
    archive = Archive()
    archive.file("bin/tool", b"#!/bin/sh\n", 0o755)
    archive.symlink("bin/link", "tool")
    archive.directory("etc")
    folder = scratch / "out"
    folder.mkdir()
    subprocess.run(["busybox", "cpio", "-idu"], input=archive.finish(), cwd=folder, check=True, capture_output=True)
    assert (folder / "bin/link").read_text() == "#!/bin/sh\n"
    assert (folder / "bin/tool").stat().st_mode & 0o777 == 0o755
    assert (folder / "etc").is_dir()


def test_modules_come_after_what_they_need(scratch: Path) -> None:
    (scratch / "modules.dep").write_text(
        "kernel/c.ko: kernel/b.ko kernel/a-x.ko\nkernel/b.ko: kernel/a-x.ko\nkernel/a-x.ko:\n"
    )
    (scratch / "modules.builtin").write_text("kernel/built-in.ko\n")
    names = [path.name for path in needed_modules(["c", "built-in"], scratch)]
    assert names == ["a-x.ko", "b.ko", "c.ko"]
    with pytest.raises(VmTestError, match="no module 'nope'"):
        needed_modules(["nope"], scratch)


def test_a_switch_learns_where_machines_are(scratch: Path) -> None:
    switch = Switch(scratch / "switch")
    ports = []
    for _ in range(3):
        port = socket.socket(socket.AF_UNIX)
        port.settimeout(10)
        port.connect(str(switch.path))
        ports.append(port)
    addresses = [bytes([2, 0, 0, 0, 0, number]) for number in range(3)]

    def frame(target: bytes, source: bytes, text: bytes) -> bytes:
        body = target + source + b"\x08\x00" + text
        return len(body).to_bytes(4, "big") + body

    try:
        # Ports are accepted in order: when the last one's greeting is there, all of them are plugged in.
        greeting = frame(b"\xff" * 6, addresses[2], b"hello")
        ports[2].sendall(greeting)
        assert ports[0].recv(1000) == greeting
        assert ports[1].recv(1000) == greeting
        broadcast = frame(b"\xff" * 6, addresses[0], b"who is there")
        ports[0].sendall(broadcast)
        assert ports[1].recv(1000) == broadcast
        assert ports[2].recv(1000) == broadcast
        answer = frame(addresses[0], addresses[1], b"me")
        ports[1].sendall(answer[:7])
        ports[1].sendall(answer[7:])
        assert ports[0].recv(1000) == answer
        direct = frame(addresses[1], addresses[0], b"good")
        ports[0].sendall(direct)
        assert ports[1].recv(1000) == direct
        ports[2].setblocking(False)
        with pytest.raises(BlockingIOError):
            ports[2].recv(1000)
    finally:
        for port in ports:
            port.close()
        switch.close()
    assert not (scratch / "switch").exists()


def test_the_end_of_a_console_is_what_led_to_a_panic() -> None:
    console = Console(lambda line: None)

    def follow(lines: list[str]) -> None:
        ours, theirs = socket.socketpair()
        thread = console.follow(ours)
        theirs.sendall("".join(line + "\n" for line in lines).encode())
        theirs.close()
        thread.join()
        ours.close()

    booting = [f"booting {step}" for step in range(50)]
    trace = [f"[5.1] frame {depth}" for depth in range(100)]
    panic = "[5.0] Kernel panic - not syncing: Attempted to kill init!"
    follow([*booting, "giving up", panic, *trace, f"---[ end {panic[6:]} ]---"])
    tail = console.tail(40)
    assert len(tail) == 40 and tail[18:21] == ["giving up", panic, trace[0]]
    follow(booting)
    assert console.tail(40) == booting[-40:], "a panic of an earlier life says nothing about this one"


def test_a_console_is_waited_for_line_by_line() -> None:
    shown: list[str] = []
    console = Console(shown.append)
    ours, theirs = socket.socketpair()
    thread = console.follow(ours)
    theirs.sendall(b"first\r\n\x1b[1msecond\x1b[0m line\r\nprompt: ")
    assert console.wait_for("second line", 10)
    assert console.wait_for("prompt", 10)
    assert not console.wait_for("first", 0)
    theirs.sendall(b"answer\n")
    assert not console.wait_for("prompt", 0.1), "a prompt that was found must not be found again when its line ends"
    theirs.close()
    thread.join()
    ours.close()
    assert shown == ["first", "second line", "prompt: answer"]
    assert not console.wait_for("never", None)


def test_reports_tell_machines_and_people(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("boot")
    with report.nested("subtest: one", subtest=True):
        report.console("vm", "<hello>")
    with pytest.raises(ValueError, match="wrong"), report.nested("subtest: two", subtest=True):
        raise ValueError("wrong")
    report.write_junit(scratch / "junit.xml", "wrong\nat line 3")
    report.end()
    shown = page(report.root, "wrong\nat line 3")
    suite = ElementTree.parse(scratch / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert "&lt;hello&gt;" in shown and "<b class=failed>failed</b>" in shown and "at line 3" in shown
    overview = index([Outcome("boot", 2.0, None), Outcome("cut", 3.0, "wrong\nat line 3")])
    assert "1 passed, 1 failed" in overview and "href='cut/report.html'" in overview
    assert "  vm: # <hello>" in capsys.readouterr().err


def test_every_printable_character_can_be_typed() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    missing = [chr(code) for code in range(32, 127) if chr(code) not in CHARACTERS and chr(code) not in letters]
    assert missing == []


def _why_no_machines() -> str | None:
    try:
        find_qemu()
        find_kernel()
    except VmTestError as error:
        return str(error)
    missing = [tool for tool in ("qemu-img", "mkfs.erofs", "mkfs.ext4") if not shutil.which(tool, path=TOOLS)]
    return f"{missing[0]} is not installed" if missing else None


@pytest.mark.slow
@pytest.mark.fuse
@pytest.mark.root
@pytest.mark.xdist_group("machines")
@pytest.mark.skipif(_why_no_machines() is not None, reason=str(_why_no_machines()))
@pytest.mark.parametrize("scenario", ["boot", "cache", "power_cut"])
def test_the_quick_scenarios(scratch: Path, scenario: str) -> None:
    """The quick part of the suite in machines; `./dev vm-test` runs all of it."""
    done = subprocess.run(
        [sys.executable, "-m", "vmdriver", "--quiet", "--out", scratch, ROOT / f"vm-tests/scenarios/{scenario}.py"],
        env={
            "PATH": TOOLS,
            "HOME": str(scratch),
            "PYTHONPATH": str(ROOT / "vm-tests"),
            "XDG_CACHE_HOME": str(ROOT / "build/cache"),  # what machines start from is made once
            "VM_POWER_CUTS": "5",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
