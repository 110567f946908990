"""The driver with a real QEMU: a bare machine of kernel, busybox and agent, which boots in 3 s without KVM."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "vm-tests"))

from vmdriver.driver import Driver, run_file
from vmdriver.errors import MachineError, RequestedAssertionFailed, VmTestError
from vmdriver.hardware import Disk, Hardware, Resumed, find_qemu
from vmdriver.image import find_kernel, make_disk, make_initrd, uncompressed_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmdriver.machine import Machine


def _why_not() -> str | None:
    try:
        find_qemu()
        find_kernel()
    except VmTestError as error:
        return str(error)
    return None if shutil.which("qemu-img") else "qemu-img is not installed"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("machines"),
    pytest.mark.skipif(_why_not() is not None, reason=str(_why_not())),
]

MODULES = ("virtio_pci", "virtio_console", "virtio_blk", "virtio_net", "ext4", "crc32c_generic")
INIT = """#!/bin/sh
/bin/busybox mkdir -p /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod "$module"; done
echo 127.0.0.1 localhost >/etc/hosts
echo "hello from init"
(while :; do vm-agent; sleep 1; done) &
exec init
"""
CACHE = Path(__file__).parents[2] / "build/cache"  # which ./dev vm-test fills, too


@pytest.fixture(autouse=True)
def _cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether KVM works takes seconds to find out: once for this checkout."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))


def hardware(scratch: Path, init: str = INIT, *more: str) -> Hardware:
    kernel = uncompressed_kernel(find_kernel()[0], CACHE / "verglas-vm-tests")
    return Hardware(kernel, make_initrd(scratch / "initrd", (*MODULES, *more), init), "quiet", vlans=[])


@contextmanager
def running(scratch: Path, one: Hardware) -> Iterator[Machine]:
    temporary = scratch / "tmp"  # other tests have machines, too
    temporary.mkdir(exist_ok=True)
    with (
        patch("tempfile.tempdir", str(temporary)),
        Driver("machine", {"vm": one}, scratch / "out", quiet=True) as driver,
    ):
        yield driver.machines[0]
        processes = [machine.qemu.process for machine in driver.machines if machine.booted]
    assert all(process is not None and process.poll() is not None for process in processes)
    assert not any((scratch / "out").glob("vm-*")) and os.listdir(temporary) == []


def test_commands_files_keys_and_snapshots(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = hardware(scratch, INIT, "bochs")  # a kernel that was not started by the BIOS needs a driver for its screen
    one.graphics = True
    one.disks = [Disk(make_disk(scratch / "disk.qcow2", "64M"))]
    with running(scratch, one) as vm:
        vm.wait_for_console_text("hello from init", timeout=120)
        assert vm.succeed("echo out; echo err >&2") == "out\n"
        assert vm.execute("exit 7") == (7, "")
        assert vm.execute("false | true")[0] == 1, "set -o pipefail"
        assert vm.execute("echo $unset")[0] != 0, "set -u"
        assert vm.execute("sleep 100", timeout=1)[0] == 124
        assert vm.execute("echo x", check_return=False) == (-1, "x\n")
        assert vm.execute("sleep 1000", check_output=False) == (-2, "")
        with pytest.raises(RequestedAssertionFailed, match=r"`echo why; false` failed \(exit code 1\)\n  \| why"):
            vm.succeed("echo why; false")
        with pytest.raises(RequestedAssertionFailed, match="unexpectedly succeeded"):
            vm.fail("true")
        with pytest.raises(MachineError, match="timed out after 1 seconds waiting for file '/nope'\n  vm # "):
            vm.wait_for_file("/nope", timeout=1)
        # ports and sockets
        vm.succeed("ip link set lo up; httpd -p 99 -h /tmp")
        vm.wait_for_open_port(99, timeout=60)
        vm.wait_for_closed_port(98, timeout=60)
        # files both ways
        folder = scratch / "folder"
        folder.mkdir()
        (folder / "big").write_bytes(os.urandom(300_000))
        (folder / "tool").write_text("#!/bin/sh\necho tool\n")
        (folder / "tool").chmod(0o755)
        vm.copy_from_host(str(folder), "/tmp/folder")
        vm.copy_from_host(str(folder / "tool"), "/tmp/deep/tool")
        assert vm.succeed("/tmp/folder/tool", "/tmp/deep/tool") == "tool\ntool\n"
        vm.copy_from_machine("/tmp/folder", "copies")
        vm.copy_from_vm("/tmp/folder/big")
        for copy in ("copies/folder/big", "big"):
            assert (scratch / "out" / copy).read_bytes() == (folder / "big").read_bytes()
        # a keyboard and a screen: the first virtual console
        vm.succeed("stty -F /dev/tty1 -echo; (head -n 1 </dev/tty1 >/tmp/typed &)")
        vm.send_chars('Hello, "World"! ~{}|\n')
        vm.wait_until_succeeds("grep -qF 'Hello, \"World\"! ~{}|' /tmp/typed", timeout=60)
        vm.succeed("printf '\\033[2J\\033[HWELCOME TO THE MACHINE\\n' >/dev/tty1")
        vm.wait_until_tty_matches("1", "TO THE MACHINE", timeout=60)
        vm.screenshot("welcome")
        assert (scratch / "out/welcome.png").read_bytes().startswith(b"\x89PNG")
        if shutil.which("tesseract"):
            vm.wait_for_text("WELCOME TO", timeout=60)
        # somebody types: standard input ends, and so does the shell
        typed = scratch / "typed"
        typed.write_text("echo $((6 * 7))\n")
        shown = scratch / "shown"
        with typed.open() as stdin, shown.open("w") as stdout:
            monkeypatch.setattr("sys.stdin", stdin)
            monkeypatch.setattr("sys.stdout", stdout)
            vm.shell_interact()
            monkeypatch.undo()
        assert "42" in shown.read_text()
        # snapshots: memory and disk
        vm.succeed("echo before >/tmp/state; echo before | dd of=/dev/vda conv=sync 2>/dev/null; sync")
        vm.save_snapshot("base")
        vm.succeed("echo after >/tmp/state; echo after | dd of=/dev/vda conv=sync 2>/dev/null; sync")
        vm.crash()
        vm.start(snapshot="base")
        assert vm.succeed("cat /tmp/state; head -c 6 /dev/vda") == "before\nbefore"
        vm.shutdown()
        assert not vm.is_up()


def test_a_saved_state_goes_on_with_a_new_disk_that_loses_what_was_not_flushed(scratch: Path) -> None:
    one = hardware(scratch)
    with running(scratch, one) as vm:
        vm.succeed("echo remembered >/tmp/state")
        vm.save_state(scratch / "state")
    raw = scratch / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", raw], check=True)

    class Never(random.Random):
        def random(self) -> float:
            return 1.0

    one.disks = [Disk(raw, "raw", write_cache=Never())]
    found = "until [ -b /dev/vda ]; do sleep 0.05; done; mkdir -p /mnt; mount -t ext4 -o commit=1000 /dev/vda /mnt"
    one.resumed = Resumed(scratch / "state", 0, found)
    with running(scratch, one) as vm:
        assert vm.succeed("cat /tmp/state") == "remembered\n"
        first = vm.succeed("cat /proc/sys/kernel/random/uuid")
        vm.succeed("echo 1 >/proc/sys/vm/dirty_writeback_centisecs; echo 1 >/proc/sys/vm/dirty_expire_centisecs")
        vm.succeed("echo kept >/mnt/kept; sync; echo lost >/mnt/lost")
        # what was written without being flushed is in the drive's cache when the power goes
        vm.wait_until_succeeds("grep -q '^Dirty: *0 kB' /proc/meminfo", timeout=60)
        vm.crash()
        assert "that were not flushed are lost" in vm.report.root.children[-1].text
        assert vm.succeed("cat /mnt/kept") == "kept\n"
        vm.fail("test -s /mnt/lost")
        assert vm.succeed("cat /proc/sys/kernel/random/uuid") != first, "each life has its own random numbers"


def test_cables_can_be_pulled(scratch: Path) -> None:
    one = hardware(scratch)
    one.vlans = [1]
    with Driver("cables", {"a": one, "b": one}, scratch / "out", quiet=True) as driver:
        a, b = driver.machines
        driver.start_all()
        for number, machine in enumerate((a, b), 1):
            machine.succeed(f"ip link set eth0 up; ip addr add 10.0.0.{number}/24 dev eth0")
        a.wait_until_succeeds("ping -c 1 -W 1 10.0.0.2", timeout=60)
        b.block()
        a.wait_until_fails("ping -c 1 -W 1 10.0.0.2", timeout=60)
        b.unblock()
        a.wait_until_succeeds("ping -c 1 -W 1 10.0.0.2", timeout=60)


def test_a_guest_that_never_boots_is_told_with_its_console(scratch: Path) -> None:
    one = hardware(scratch, "#!/bin/sh\necho 'no root file system'\nexec /bin/busybox sleep 10000\n")
    with running(scratch, one) as vm:
        vm.wait_for_console_text("no root file system")
        vm.boot_timeout = 1
        with pytest.raises(MachineError, match=r"vm: did not boot: no answer within the time limit(\n  vm # .*)+"):
            vm.succeed("true")


def test_a_guest_that_panics_is_told_with_its_console(scratch: Path) -> None:
    with running(scratch, hardware(scratch, "#!/bin/sh\necho 'giving up'\nexit 1\n")) as vm:
        with pytest.raises(MachineError, match=r"vm: did not boot: the machine has ended(\n  vm # .*)*giving up"):
            vm.succeed("true")
        assert any("panic" in line for line in vm.console_tail())


WAITS = """
from pathlib import Path
from vmdriver.hardware import Hardware
from vmdriver.image import find_kernel, make_disk, make_initrd, uncompressed_kernel
def machines(images):
    kernel = uncompressed_kernel(find_kernel()[0], Path("@cache@"))
    make_disk(images / "disk", "1G")
    return {"vm": Hardware(kernel, make_initrd(images / "initrd", [], "#!/bin/sh"), vlans=[])}
def test():
    vm.wait_for_console_text("never")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_machines_and_files_are_gone_after_a_signal(scratch: Path, number: signal.Signals) -> None:
    (scratch / "tmp").mkdir()
    (scratch / "waits.py").write_text(WAITS.replace("@cache@", f"{CACHE}/verglas-vm-tests"))
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "vm-tests"), "TMPDIR": str(scratch / "tmp")}
    command = [sys.executable, "-m", "vmdriver", "--out", str(scratch / "out"), str(scratch / "waits.py")]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as driver:
        assert driver.stderr
        for line in driver.stderr:
            if "Linux version" in line:
                break
        assert any("disk" in files for _, _, files in os.walk(scratch / "tmp"))
        driver.send_signal(number)
        said = driver.stderr.read()  # which ends with the last process that has it open
    assert os.listdir(scratch / "tmp") == []
    assert "Traceback" not in said
    if number in {signal.SIGINT, signal.SIGTERM}:
        assert driver.returncode == 130 and "interrupted" in said
    else:
        assert driver.returncode == -number


def test_what_qemu_refuses_is_told_in_its_words(scratch: Path) -> None:
    one = hardware(scratch)
    one.extra = ["-device", "no-such-device"]
    with running(scratch, one) as vm, pytest.raises(VmTestError, match=r"vm: QEMU could not start: .*no-such-device"):
        vm.start()


def test_the_example_of_the_documentation_runs(scratch: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/vm-tests.md").read_text()
    (scratch / "example.py").write_text(text.split("```python\n")[1].split("```")[0])
    assert run_file(scratch / "example.py", scratch / "out", quiet=True) is None
    assert 'failures="0"' in (scratch / "out/junit.xml").read_text()
