"""A machine as a test script sees it: the API of the NixOS test driver, to the letter.

Its documentation is the chapter "NixOS Tests" of the NixOS manual; names and defaults are the same. This file has
power, console, network and QEMU itself; `commands`, `units`, `files` and `display` have the rest.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vmdriver.agent import Agent, AgentLostError
from vmdriver.commands import TIMEOUT
from vmdriver.console import Console
from vmdriver.display import Display
from vmdriver.errors import MachineError, MissingProgramError
from vmdriver.files import Files
from vmdriver.qemu import Qemu
from vmdriver.units import Units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vmdriver.hardware import Hardware
    from vmdriver.network import Switch
    from vmdriver.report import Report

_BOOT_TIMEOUT = 300


class Machine(Units, Files, Display):
    """One machine; `start` boots it, and every command does so if it does not run yet."""

    def __init__(
        self,
        name: str,
        hardware: Hardware,
        switches: dict[int, Switch],
        report: Report,
        out_dir: Path,
        number: int = 1,
        callbacks: list[Callable[[], None]] | None = None,
    ) -> None:
        self.name = name
        self.hardware = hardware
        self.out_dir = out_dir
        self.number = number
        self.report = report
        self.boot_timeout = _BOOT_TIMEOUT
        self.callbacks = callbacks or []
        self._switches = switches
        self._console = Console(lambda line: None)
        self._qemu: Qemu | None = None
        self._agent: Agent | None = None
        self._ready = False

    def __repr__(self) -> str:
        return f"<Machine '{self.name}'>"

    # Power

    @property
    def booted(self) -> bool:
        """Whether it has been started and not ended since."""
        return self._qemu is not None

    @property
    def connected(self) -> bool:
        """Whether it runs commands."""
        return self._ready

    def is_up(self) -> bool:
        """Return whether it has been started and runs commands."""
        return self.booted and self.connected

    def start(self, allow_reboot: bool = False, snapshot: str | None = None) -> None:
        """Switch it on, without waiting for it. Does nothing if it runs.

        `snapshot` is the name of one that `save_snapshot` made: the machine goes on from there.
        """
        if self._qemu is not None:
            return
        self.log("starting vm" if snapshot is None else f"restoring snapshot '{snapshot}'")
        self._qemu = Qemu(
            self.name,
            self.hardware,
            self._switches,
            load_snapshot=snapshot,
            allow_reboot=allow_reboot,
            number=self.number,
        )
        self._console = Console(lambda line: self.report.console(self.name, line))
        self._console.follow(self._qemu.channels["console"])
        self._agent = Agent(self._qemu.channels["agent"], self._qemu.channels["data"])
        self._ready = snapshot is not None
        if self.hardware.resumed is not None and snapshot is None:
            self._ready = True
            self.succeed(self.hardware.resumed.command, timeout=self.boot_timeout)

    def connect(self) -> None:
        """Wait until it runs commands."""
        if self._ready:
            return
        self.start()
        if self._ready:
            return  # it had never to boot
        with self.nested("waiting for the VM to finish booting"):
            try:
                self.agent.wait_ready(self.boot_timeout)
            except AgentLostError as error:
                raise MachineError(self.name, f"did not boot: {error}", self.console_tail()) from None
        self._ready = True

    def shutdown(self) -> None:
        """Switch it off in an orderly way and wait until it is."""
        if self._qemu is None:
            return
        self.connect()
        # Busybox's sh takes its own poweroff before any in PATH, which sends systemd a signal that means another thing.
        self.agent.start("if [ -d /run/systemd/system ]; then systemctl poweroff; else poweroff; fi")
        self.wait_for_shutdown()

    def wait_for_shutdown(self) -> None:
        """Wait until it has switched itself off."""
        if self._qemu is None:
            return
        with self.nested("waiting for the VM to power off"):
            if not self._qemu.wait_end(TIMEOUT):
                raise MachineError(self.name, "did not power off", self.console_tail())
        self.release()

    def crash(self) -> None:
        """Cut the power."""
        if self._qemu is None:
            return
        self.log("forced crash")
        qemu = self._qemu
        self.release()
        if qemu.lost_writes:
            self.log(f"{qemu.lost_writes} writes that were not flushed are lost")

    def reboot(self) -> None:
        """Press Ctrl+Alt+Delete, in a machine that was started with `allow_reboot`; the next command waits for it."""
        self.connect()
        self.send_key("ctrl-alt-delete")
        self._ready = False

    def switch_root(self) -> None:
        """Go from stage 1 to stage 2 in a machine whose initial RAM disk has systemd and the agent."""
        self.wait_for_unit("initrd.target")
        self.execute("systemctl isolate --no-block initrd-switch-root.target >/dev/null 2>&1", check_output=False)
        self._ready = False
        self.connect()

    def release(self) -> None:
        """End QEMU and remove its files, however it is."""
        qemu, self._qemu, self._agent, self._ready = self._qemu, None, None, False
        if qemu is not None:
            qemu.close()

    def kill(self) -> None:
        """End QEMU, from any thread: whoever waits for the machine learns that it is gone."""
        qemu = self._qemu
        if qemu is not None:
            qemu.kill()

    def save_snapshot(self, name: str) -> None:
        """Keep memory, processor and disks as `name` in the first writable disk; `start(snapshot=name)` restores."""
        self.connect()
        answer = self.qemu.qmp.monitor(f"savevm {name}")
        if answer.strip():
            raise MachineError(self.name, f"snapshot '{name}' failed: {answer.strip()}")

    def save_state(self, path: Path) -> None:
        """Keep memory and processor, without disks, in a file for `Hardware.resumed`, and end the machine."""
        self.connect()
        self.qemu.save_state(path)
        self.release()

    # Console

    def wait_for_console_text(self, regex: str, timeout: int | None = None) -> None:
        """Wait until the console has a text that matches, after what an earlier call has found."""
        with self.nested(f"waiting for {regex} to appear on console"):
            self.start()
            if not self._console.wait_for(regex, timeout):
                raise MachineError(self.name, f"'{regex}' did not appear on the console", self.console_tail())

    def get_console_log(self) -> str:
        """Return everything that the console has shown since the machine was started."""
        return self._console.text()

    def console_tail(self) -> list[str]:
        """Return the last lines of the console, for messages."""
        return self._console.tail()

    def send_console(self, chars: str) -> None:
        """Type on the serial console."""
        self.qemu.channels["console"].sendall(chars.encode())

    # Network

    def block(self) -> None:
        """Pull the network cables."""
        self._set_links(False)

    def unblock(self) -> None:
        """Plug the network cables in again."""
        self._set_links(True)

    def forward_port(self, host_port: int = 8080, guest_port: int = 80) -> None:
        """Make a TCP port of the machine reachable on the host's loopback.

        The machine gets one more network card for it, on 10.0.2.0/24, which it has to configure: by DHCP, for example.
        """
        name = f"forward{host_port}"
        self._monitor(f"netdev_add user,id={name},hostfwd=tcp:127.0.0.1:{host_port}-:{guest_port}")
        self.qemu.qmp.command("device_add", driver="virtio-net-pci", netdev=name, romfile="")

    # QEMU

    @property
    def qemu(self) -> Qemu:
        """The running QEMU; the machine is switched on if it is not yet."""
        self.start()
        assert self._qemu is not None
        return self._qemu

    @property
    def agent(self) -> Agent:
        """The agent of the running machine."""
        if self._agent is None:
            raise MachineError(self.name, "is not running")
        return self._agent

    def send_monitor_command(self, command: str) -> str:
        """Run a command of QEMU's monitor and return what it prints."""
        self.run_callbacks()
        return self.qemu.qmp.monitor(command)

    def wait_for_qmp_event(
        self, event_filter: Callable[[dict[str, Any]], bool], timeout: int = 60 * 10
    ) -> dict[str, Any]:
        """Return the next event of QEMU for which `event_filter` is true; others are passed over."""
        return self.qemu.qmp.wait_for_event(event_filter, timeout)

    # People

    def shell_interact(self, address: str | None = None) -> None:
        """Give a shell in the machine to this terminal until it ends, or to `address`, as socat has it."""
        self.connect()
        if address is None:
            self.log("a shell in the machine: 'exit' or Ctrl-D ends it")
            self.agent.interact(sys.stdin.fileno(), sys.stdout.fileno())
            return
        program = shutil.which("socat")
        if program is None:
            raise MissingProgramError("the program 'socat'", "socat")
        ours, theirs = socket.socketpair()
        command = [program, address, "STDIO"]
        with ours, theirs, subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno()) as socat:
            theirs.close()
            self.agent.interact(ours.fileno(), ours.fileno())
            socat.terminate()

    def console_interact(self) -> None:
        """Type on the serial console, line by line, until Ctrl-D or Ctrl-C; what it shows is in the log."""
        self.log("lines go to the serial console; Ctrl-D ends this")
        self.report.show_consoles(True)
        try:
            for line in sys.stdin:
                self.send_console(line)
        except KeyboardInterrupt:
            pass

    def log(self, msg: str) -> None:
        """Write a line into the log."""
        self.report.log(msg, self.name)

    @contextmanager
    def nested(self, msg: str, attrs: dict[str, str] | None = None) -> Iterator[None]:
        """Everything that is logged in this context belongs under `msg`."""
        del attrs
        with self.report.nested(msg, self.name):
            yield

    def run_callbacks(self) -> None:
        """Check what the test wants to hold all the time."""
        for callback in self.callbacks:
            callback()

    def _set_links(self, up: bool) -> None:
        for vlan in self.hardware.vlans:
            self.qemu.qmp.command("set_link", name=f"vlan{vlan}", up=up)

    def _monitor(self, line: str) -> None:
        answer = self.qemu.qmp.monitor(line)
        if answer.strip():
            raise MachineError(self.name, f"QEMU refused '{line}': {answer.strip()}")
