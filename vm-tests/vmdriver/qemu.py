"""One QEMU process: its command line, its start, its end. Nothing of it is left when it is closed."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vmdriver import write_cache
from vmdriver.errors import VmTestError
from vmdriver.hardware import find_qemu, kvm_works
from vmdriver.qmp import Qmp, QmpError
from vmdriver.virtiofs import Virtiofsd, guard

if TYPE_CHECKING:
    from vmdriver.hardware import Disk, Hardware
    from vmdriver.network import Switch

_TIMEOUT = 60.0  # seconds that QEMU may take to start, and to answer
_CHANNELS = ("qmp", "console", "agent", "data")


class Qemu:
    """A running QEMU, talked to through sockets that it inherits: nothing is polled for, and nothing is in the way.

    Args:
        name: the machine's, for the process list.
        hardware: what it is made of.
        switches: the networks by number.
        load_snapshot: the tag of a snapshot to start from instead of booting.
        allow_reboot: whether a reset restarts the machine instead of ending it.
        number: the machine's, for its addresses.

    Raises:
        VmTestError: QEMU did not start; with what it said.
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
        self.hardware = hardware
        self.folder = Path(tempfile.mkdtemp(prefix="vm-"))
        self._log = self.folder / "qemu.log"
        self.channels: dict[str, socket.socket] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.lost_writes = 0  # of drives with a write cache, after the end
        self._virtiofs: list[Virtiofsd] = []
        resumed = hardware.resumed if load_snapshot is None else None
        with contextlib.ExitStack() as inherited:
            theirs = {}
            for channel in _CHANNELS:
                self.channels[channel], end = socket.socketpair()
                theirs[channel] = inherited.enter_context(end).fileno()
            try:
                self._serve_virtiofs()
                command = self._command(name, hardware, switches, number, theirs)
                fds = list(theirs.values())
                if load_snapshot is not None:
                    command += ["-loadvm", load_snapshot]
                if resumed is not None:
                    fds.append(inherited.enter_context(resumed.state.open("rb")).fileno())
                    command += ["-incoming", f"fd:{fds[-1]}"]
                if not allow_reboot:
                    command.append("-no-reboot")
                with self._log.open("wb") as log:
                    self.process = subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=fds
                    )
                inherited.close()  # before waiting for the greeting: only QEMU may keep its ends open
                self.qmp = Qmp(self.channels["qmp"], _TIMEOUT)
                if resumed is not None:
                    self._plug_in(hardware, switches, number, resumed.disks)
            except (OSError, QmpError) as error:
                self.kill()
                logs = [self._log, *sorted(self.folder.glob("virtiofs*.log"))]
                said = "\n".join(log.read_text(errors="replace") for log in logs if log.exists()).strip()
                self.close()
                raise VmTestError(f"{name}: QEMU could not start: {said or error}") from error
            except BaseException:
                self.close()
                raise

    def wait_end(self, timeout: float | None) -> bool:
        """Wait until QEMU has ended by itself; False when it has not after `timeout` seconds."""
        assert self.process is not None
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def save_state(self, path: Path) -> None:
        """Write memory and processor to a file; the machine has stopped then, and can't go on.

        It is not stopped before: what continues from a stopped machine's state would be stopped, too.
        """
        self.qmp.command("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        self.qmp.command("migrate-set-parameters", max_bandwidth=1 << 40)
        self.qmp.command("migrate", uri=f"exec:cat >{shlex.quote(str(path))}")
        ended = ("completed", "failed")
        event = self.qmp.wait_for_event(
            lambda event: event["event"] == "MIGRATION" and event["data"]["status"] in ended, _TIMEOUT
        )
        if event["data"]["status"] == "failed":
            raise VmTestError(f"the state could not be written to '{path}': {self._log.read_text().strip()}")

    def kill(self) -> None:
        """Cut the power: SIGKILL."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def close(self) -> None:
        """End it if it still runs, and remove its directory. Drives with a write cache get what the cut left."""
        cut = self.process is not None and self.process.poll() is None
        self.kill()
        for server in self._virtiofs:
            server.close()
        for channel in self.channels.values():
            channel.close()
        try:
            for index, disk in enumerate(self.hardware.disks):
                log = self._write_log(index)
                if disk.write_cache is not None and log.exists():
                    self.lost_writes += write_cache.settle(disk.path, log, disk.write_cache if cut else None)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write_log(self, index: int) -> Path:
        return self.folder / f"disk{index}.log"

    def _serve_virtiofs(self) -> None:
        for index, directory in enumerate(self.hardware.virtiofs.values()):
            path = self.folder / f"virtiofs{index}"
            self._virtiofs.append(Virtiofsd(directory, path, path.with_suffix(".log")))

    def _plug_in(self, hardware: Hardware, switches: dict[int, Switch], number: int, known: int) -> None:
        """Wait until the saved state runs, and give it what it does not know yet."""
        while self.qmp.command("query-status")["status"] == "inmigrate":
            self.qmp.wait_for_event(lambda event: event["event"] == "RESUME", _TIMEOUT)
        for device in _devices(hardware, switches, number, range(known, len(hardware.disks))):
            driver, *options = device.split(",")
            self.qmp.command("device_add", driver=driver, **dict(option.split("=", 1) for option in options))

    def _command(
        self, name: str, hardware: Hardware, switches: dict[int, Switch], number: int, fds: dict[str, int]
    ) -> list[str]:
        kvm = kvm_works(hardware.kernel)
        command = [find_qemu(), "-name", name, "-nodefaults", "-no-user-config", "-display", "none"]
        command += ["-machine", "pc,hpet=off", "-accel", "kvm" if kvm else "tcg,thread=multi,tb-size=256"]
        command += ["-cpu", "host" if kvm else "qemu64"]
        command += ["-m", str(hardware.memory), "-smp", str(hardware.cpus)]
        command += ["-kernel", str(hardware.kernel), "-initrd", str(hardware.initrd)]
        command += ["-append", f"console=ttyS0 panic=-1 tsc=reliable no_timer_check {hardware.append}".strip()]
        for channel, fd in fds.items():
            command += ["-chardev", f"socket,id={channel},fd={fd}"]
        command += ["-mon", "chardev=qmp,mode=control", "-serial", "chardev:console"]
        # vmgenid tells a machine that goes on from a saved state that its random numbers were used before
        command += ["-device", "virtio-rng-pci", "-device", "vmgenid,guid=auto", "-device", "virtio-serial-pci"]
        for channel in ("agent", "data"):
            command += ["-device", f"virtserialport,chardev={channel},name=vmdriver.{channel}"]
        if hardware.graphics:
            command += ["-vga", "std"]
        for index, disk in enumerate(hardware.disks):
            command += ["-drive", f"id=disk{index},if=none,cache=writeback,discard=unmap,{self._drive(index, disk)}"]
        for tag, path in hardware.shares.items():
            command += ["-fsdev", f"local,id={tag},path={path},security_model=none,readonly=on,multidevs=remap"]
        if hardware.virtiofs:  # its server reads and writes the machine's memory
            memory = f"memory-backend-memfd,id=memory,size={hardware.memory}M,share=on"
            command += ["-object", memory, "-machine", "memory-backend=memory"]
        for index, tag in enumerate(hardware.virtiofs):
            command += ["-chardev", f"socket,id=virtiofs{index},path={self.folder / f'virtiofs{index}'}"]
            command += ["-device", f"vhost-user-fs-pci,chardev=virtiofs{index},tag={tag}"]
        for vlan in hardware.vlans:
            if vlan in switches:
                address = f"addr.type=unix,addr.path={switches[vlan].path}"
                command += ["-netdev", f"stream,id=vlan{vlan},server=off,{address}"]
        if hardware.resumed is None:
            for device in _devices(hardware, switches, number, range(len(hardware.disks))):
                command += ["-device", device]
        else:
            for device in _devices(hardware, {}, number, range(hardware.resumed.disks), shares=False):
                command += ["-device", device]
        return [*guard(), *command, *hardware.extra]  # however this process ends, QEMU ends with it

    def _drive(self, index: int, disk: Disk) -> str:
        if disk.write_cache is not None:
            return write_cache.drive(disk.path, self.folder / f"disk{index}.qcow2", self._write_log(index))
        return f"file={disk.path},format={disk.fmt}" + (",readonly=on" if disk.readonly else "")


def _devices(
    hardware: Hardware, switches: dict[int, Switch], number: int, disks: range, *, shares: bool = True
) -> list[str]:
    """Return what the guest sees of these disks, of the shares and of the networks, as `-device` has it."""
    devices = [f"virtio-blk-pci,drive=disk{index},serial=disk{index}" for index in disks]
    if shares:
        devices += [f"virtio-9p-pci,fsdev={tag},mount_tag={tag}" for tag in hardware.shares]
    for vlan in hardware.vlans:
        if vlan in switches:
            address = f"52:54:00:12:{vlan:02x}:{number:02x}"
            devices.append(f"virtio-net-pci,netdev=vlan{vlan},mac={address},romfile=")
    return devices
