"""One QEMU process: its command line, its start, its end. Nothing of it is left when it is closed."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vmdriver.errors import MissingProgramError, VmTestError
from vmdriver.qmp import Qmp, QmpError

if TYPE_CHECKING:
    from vmdriver.network import Switch

_START_TIMEOUT = 20.0  # seconds until QEMU listens


@dataclass(frozen=True, slots=True)
class Disk:
    """A drive. `fmt` is 'raw' or 'qcow2'."""

    path: Path
    fmt: str = "qcow2"
    readonly: bool = False


@dataclass(slots=True)
class Hardware:
    """What a machine is made of. Sizes are in MiB."""

    kernel: Path
    initrd: Path
    append: str = ""
    memory: int = 256
    cpus: int = 1
    disks: list[Disk] = field(default_factory=list)
    shares: dict[str, Path] = field(default_factory=dict)  # 9p: mount tag -> host directory, read-only
    vlans: list[int] = field(default_factory=lambda: [1])
    graphics: bool = False
    extra: list[str] = field(default_factory=list)


def find_qemu() -> str:
    """Return the QEMU program for this processor."""
    program = shutil.which(f"qemu-system-{os.uname().machine}")
    if program is None:
        raise MissingProgramError("QEMU", "qemu-system-x86")
    return program


@functools.cache
def kvm_works(kernel: Path) -> bool:
    """Return whether KVM really runs a guest: a /dev/kvm can be there and hang one for ever (nested machines).

    Boots `kernel` without a root file system; its panic ends it at once where KVM works. Blocks for at most 8 s, once
    after the host was booted: the answer is kept in the user's cache. VMDRIVER_KVM=0 or 1 answers it beforehand.
    """
    told = os.environ.get("VMDRIVER_KVM")
    if told:
        return told == "1"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / f"vmdriver/kvm-{boot}"
    if known.exists():
        return known.read_text() == "works"
    works = _boots_with_kvm(kernel)
    with contextlib.suppress(OSError):
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text("works" if works else "hangs")
    return works


def _boots_with_kvm(kernel: Path) -> bool:
    command = [find_qemu(), "-accel", "kvm", "-m", "128", "-kernel", str(kernel), "-display", "none", "-no-reboot"]
    command += ["-nodefaults", "-append", "panic=-1 quiet"]
    try:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                return process.wait(8) == 0
            except subprocess.TimeoutExpired:
                return False
            finally:
                process.kill()
    except OSError:
        return False


class Qemu:
    """A running QEMU. Its sockets lie in a directory that goes with it.

    Args:
        name: the machine's, for the process list.
        hardware: what it is made of.
        switches: the networks by number.
        load_snapshot: the tag of a snapshot to start from instead of booting.
        allow_reboot: whether a reset restarts the machine instead of ending it.
    """

    def __init__(
        self,
        name: str,
        hardware: Hardware,
        switches: dict[int, Switch],
        *,
        load_snapshot: str | None = None,
        allow_reboot: bool = False,
        number: int = 1,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vm-"))
        self._log = self.folder / "qemu.log"
        command = self._command(name, hardware, switches, number)
        if load_snapshot is not None:
            command += ["-loadvm", load_snapshot]
        if not allow_reboot:
            command.append("-no-reboot")
        try:
            with self._log.open("wb") as log:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            self.qmp = Qmp(self._socket_path("qmp"), _START_TIMEOUT)
            self.console = socket.socket(socket.AF_UNIX)
            self.console.connect(str(self.folder / "console"))
            self.qmp.command("cont")  # it began paused (-S), so that nothing the console says is lost
        except (OSError, QmpError) as error:
            said = self._log.read_text(errors="replace").strip()
            self.close()
            raise VmTestError(f"QEMU could not start: {said or error}") from error
        except BaseException:
            self.close()
            raise

    @property
    def agent_sockets(self) -> tuple[Path, Path]:
        """The sockets of the agent's two ports."""
        return self.folder / "agent", self.folder / "data"

    def wait_end(self, timeout: float | None) -> bool:
        """Wait until QEMU has ended by itself; False when it has not after `timeout` seconds."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Cut the power: SIGKILL."""
        process = getattr(self, "process", None)
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        """End it if it still runs, and remove its directory."""
        self.kill()
        for name in ("qmp", "console"):
            channel = getattr(self, name, None)
            if channel is not None:
                channel.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _socket_path(self, name: str) -> Path:
        """Wait until QEMU has made the socket `name`. It makes the one for QMP last but tells nobody."""
        path = self.folder / name
        deadline = time.monotonic() + _START_TIMEOUT
        while not path.exists():
            if self.process.poll() is not None:
                raise VmTestError(f"QEMU could not start: {self._log.read_text().strip()}")
            if time.monotonic() > deadline:
                raise VmTestError("QEMU did not open its control socket")
            time.sleep(0.005)
        return path

    def _command(self, name: str, hardware: Hardware, switches: dict[int, Switch], number: int) -> list[str]:
        accelerator = "kvm" if kvm_works(hardware.kernel) else "tcg,thread=multi,tb-size=256"
        command = [find_qemu(), "-name", name, "-nodefaults", "-no-user-config", "-display", "none", "-S"]
        command += [
            "-machine",
            "pc,hpet=off",
            "-accel",
            accelerator,
            "-cpu",
            "qemu64" if "tcg" in accelerator else "host",
        ]
        command += ["-m", str(hardware.memory), "-smp", str(hardware.cpus)]
        command += ["-kernel", str(hardware.kernel), "-initrd", str(hardware.initrd)]
        command += ["-append", f"console=ttyS0 panic=-1 tsc=reliable no_timer_check {hardware.append}".strip()]
        command += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
        for socket_name, port in (("agent", "vmdriver.agent"), ("data", "vmdriver.data")):
            command += ["-chardev", f"socket,id={socket_name},path={self.folder}/{socket_name},server=on,wait=off"]
            command += ["-device", f"virtserialport,chardev={socket_name},name={port}"]
        command += ["-chardev", f"socket,id=console,path={self.folder}/console,server=on,wait=off"]
        command += ["-serial", "chardev:console"]
        command += ["-qmp", f"unix:{self.folder}/qmp,server=on,wait=off"]
        if hardware.graphics:
            command += ["-vga", "std"]
        for index, disk in enumerate(hardware.disks):
            options = f"id=disk{index},if=none,file={disk.path},format={disk.fmt},cache=writeback,discard=unmap"
            command += ["-drive", options + (",readonly=on" if disk.readonly else "")]
            command += ["-device", f"virtio-blk-pci,drive=disk{index},serial=disk{index}"]
        for tag, path in hardware.shares.items():
            command += ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"]
        for vlan in hardware.vlans:
            if vlan in switches:
                address = f"52:54:00:12:{vlan:02x}:{number:02x}"
                command += [
                    "-netdev",
                    f"stream,id=vlan{vlan},server=off,addr.type=unix,addr.path={switches[vlan].path}",
                ]
                command += ["-device", f"virtio-net-pci,netdev=vlan{vlan},mac={address},romfile="]
        # However this process ends, QEMU ends with it: util-linux's setpriv sets PR_SET_PDEATHSIG.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        return guard + command + hardware.extra
