"""A machine as a test script sees it: the API of the NixOS test driver, to the letter.

Its documentation is the chapter "NixOS Tests" of the NixOS manual; defaults are the same (900 s, `set -euo pipefail`).
What is different is inside: waiting happens in the machine, by an agent that tries again after 20 to 200 ms, not by
asking once a second from here.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vmdriver.agent import Agent, AgentLostError
from vmdriver.console import Console
from vmdriver.errors import MachineError, RequestedAssertionFailed
from vmdriver.keyboard import CHARACTERS
from vmdriver.qemu import Qemu
from vmdriver.screen import read_text
from vmdriver.units import TIMEOUT, Units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmdriver.network import Switch
    from vmdriver.qemu import Hardware
    from vmdriver.report import Report

_BOOT_TIMEOUT = 300


def retry(function: Callable[[bool], bool], timeout: float = TIMEOUT) -> None:
    """Call `function(last_attempt)` until it returns True, as the NixOS driver has it for scripts.

    Raises:
        MachineError: it did not within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if function(False):
            return
        time.sleep(0.1)
    if not function(True):
        raise MachineError("driver", f"action timed out after {timeout} seconds")


class Machine(Units):
    """One machine; `start` boots it, and every command does so if it does not run yet."""

    def __init__(
        self, name: str, hardware: Hardware, switches: dict[int, Switch], report: Report, out_dir: Path, number: int = 1
    ) -> None:
        self.name = name
        self.hardware = hardware
        self.out_dir = out_dir
        self.number = number
        self._switches = switches
        self._report = report
        self._console = Console(lambda line: report.console(name, line))
        self._qemu: Qemu | None = None
        self._agent: Agent | None = None
        self._ready = False

    # Power

    @property
    def booted(self) -> bool:
        """Whether it has been started and not ended since."""
        return self._qemu is not None

    def start(self, allow_reboot: bool = False, snapshot: str | None = None) -> None:
        """Switch it on. Does nothing if it runs. `snapshot` is the name of one that `save_snapshot` made."""
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
        self._console.follow(self._qemu.console)
        self._agent = Agent(*self._qemu.agent_sockets)
        self._ready = snapshot is not None

    def connect(self) -> None:
        """Wait until it runs commands."""
        self.start()
        if not self._ready:
            with self.nested("waiting for the VM to finish booting"):
                try:
                    self._agent_or_fail().wait_ready(_BOOT_TIMEOUT)
                except AgentLostError as error:
                    raise MachineError(self.name, f"did not boot: {error}", self.console_tail()) from None
            self._ready = True

    def shutdown(self) -> None:
        """Switch it off in an orderly way and wait until it is."""
        if self._qemu is None:
            return
        self.connect()
        try:
            self._agent_or_fail().run("sync; poweroff >/dev/null 2>&1 &", 30)
        except AgentLostError:
            pass  # it was faster than its answer
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
        self.release()

    def reboot(self) -> None:
        """Press the reset button of a machine that was started with `allow_reboot`; the next command waits for it."""
        self.connect()
        self._qemu_or_fail().qmp.command("system_reset")
        self._ready = False

    def release(self) -> None:
        """End QEMU and remove its files, however it is."""
        if self._agent is not None:
            self._agent.close()
        if self._qemu is not None:
            self._qemu.close()
        self._agent = self._qemu = None
        self._ready = False

    def save_snapshot(self, name: str) -> None:
        """Keep memory, processor and disks as `name` in the first writable disk; `start(snapshot=name)` restores."""
        self.connect()
        answer = self._qemu_or_fail().qmp.monitor(f"savevm {name}")
        if answer.strip():
            raise MachineError(self.name, f"snapshot '{name}' failed: {answer.strip()}")

    # Commands

    def execute(
        self, command: str, check_return: bool = True, check_output: bool = True, timeout: int | None = TIMEOUT
    ) -> tuple[int, str]:
        """Run a shell command; returns its exit status (-1 without `check_return`) and its standard output."""
        self.connect()
        status, output = self._agent_or_fail().run(command, timeout)
        return (status if check_return else -1), (output if check_output else "")

    def succeed(self, *commands: str, timeout: int | None = None) -> str:
        """Run commands that must succeed, and return what they wrote to standard output."""
        output = ""
        for command in commands:
            with self.nested(f"must succeed: {command}"):
                status, text = self.execute(command, timeout=timeout or TIMEOUT)
                if status:
                    self.log(f"output: {text}")
                    raise RequestedAssertionFailed(f"{self.name}: command `{command}` failed (exit code {status})")
                output += text
        return output

    def fail(self, *commands: str, timeout: int | None = None) -> str:
        """Run commands that must fail, and return what they wrote to standard output."""
        output = ""
        for command in commands:
            with self.nested(f"must fail: {command}"):
                status, text = self.execute(command, timeout=timeout or TIMEOUT)
                if not status:
                    raise RequestedAssertionFailed(f"{self.name}: command `{command}` unexpectedly succeeded")
                output += text
        return output

    def wait_until_succeeds(self, command: str, timeout: int = TIMEOUT) -> str:
        """Repeat a command until it succeeds, and return what it wrote then."""
        return self.wait_until(command, timeout, succeeds=True)

    def wait_until_fails(self, command: str, timeout: int = TIMEOUT) -> str:
        """Repeat a command until it fails, and return what it wrote then."""
        return self.wait_until(command, timeout, succeeds=False)

    def wait_for_file(self, filename: str, timeout: int = TIMEOUT) -> None:
        """Wait until a file is there."""
        self.wait_until(f"test -e {shlex.quote(filename)}", timeout, succeeds=True)

    def wait_for_open_port(self, port: int, addr: str = "localhost", timeout: int = TIMEOUT) -> None:
        """Wait until something listens on a TCP port."""
        self.wait_until(_connects(addr, port), timeout, succeeds=True)

    def wait_for_closed_port(self, port: int, addr: str = "localhost", timeout: int = TIMEOUT) -> None:
        """Wait until nothing listens on a TCP port."""
        self.wait_until(_connects(addr, port), timeout, succeeds=False)

    # Files

    def copy_from_host(self, source: str, target: str) -> None:
        """Copy a file or a directory into the machine, as `target`."""
        self.connect()
        path = Path(source)
        if path.is_dir():
            with tempfile.TemporaryFile() as file:
                import tarfile

                with tarfile.open(fileobj=file, mode="w") as archive:
                    archive.add(path, arcname=".")
                file.seek(0)
                self._put(file.read(), "/tmp/.vm-copy.tar")
            self.succeed(f"mkdir -p {shlex.quote(target)} && tar -x -C {shlex.quote(target)} -f /tmp/.vm-copy.tar")
            self.succeed("rm /tmp/.vm-copy.tar")
            return
        self._put(path.read_bytes(), target)
        if os.access(path, os.X_OK):
            self.succeed(f"chmod +x {shlex.quote(target)}")

    copy_from_host_via_shell = copy_from_host

    def copy_from_vm(self, source: str, target_dir: str = "") -> None:
        """Copy a file or a directory out of the machine, into `target_dir` below the output directory."""
        self.connect()
        folder = self.out_dir / target_dir
        folder.mkdir(parents=True, exist_ok=True)
        name = os.path.basename(source.rstrip("/"))
        if self.execute(f"test -d {shlex.quote(source)}")[0] == 0:
            parent = os.path.dirname(source.rstrip("/")) or "/"
            self.succeed(f"tar -c -C {shlex.quote(parent)} -f /tmp/.vm-copy.tar {shlex.quote(name)}")
            content = self._agent_or_fail().get("/tmp/.vm-copy.tar")
            self.succeed("rm /tmp/.vm-copy.tar")
            import io
            import tarfile

            with tarfile.open(fileobj=io.BytesIO(content or b"")) as archive:
                archive.extractall(folder, filter="data")
            return
        content = self._agent_or_fail().get(source)
        if content is None:
            raise MachineError(self.name, f"file '{source}' can't be read")
        (folder / name).write_bytes(content)

    # Console, keyboard and screen

    def wait_for_console_text(self, regex: str, timeout: int | None = None) -> None:
        """Wait for a line on the console that matches."""
        with self.nested(f"waiting for {regex} to appear on console"):
            self.start()
            if not self._console.wait_for(regex, timeout):
                raise MachineError(self.name, f"'{regex}' did not appear on the console", self.console_tail())

    def get_console_log(self) -> str:
        """Return everything that the console has shown."""
        return self._console.text()

    def console_tail(self) -> list[str]:
        """Return the last lines of the console, for messages."""
        return self._console.tail()

    def send_console(self, chars: str) -> None:
        """Type on the serial console."""
        self._qemu_or_fail().console.sendall(chars.encode())

    def send_key(self, key: str, delay: float | None = 0.01, log: bool | None = True) -> None:
        """Press a key, by QEMU's name for it ('ctrl-alt-delete') or as the character it makes."""
        if log:
            self.log(f"sending key '{key}'")
        self._qemu_or_fail().qmp.monitor(f"sendkey {CHARACTERS.get(key, key)}")
        if delay:
            time.sleep(delay)

    def send_chars(self, chars: str, delay: float | None = 0.01) -> None:
        """Type a text."""
        with self.nested(f"sending keys {chars!r}"):
            for char in chars:
                self.send_key(char, delay, log=False)

    def send_monitor_command(self, command: str) -> str:
        """Run a command of QEMU's monitor and return what it prints."""
        return self._qemu_or_fail().qmp.monitor(command)

    def screenshot(self, filename: str) -> None:
        """Take a picture of the screen: FILENAME.png in the output directory, and in the report."""
        name = filename if filename.endswith(".png") else f"{filename}.png"
        path = self.out_dir / name
        with self.nested(f"making screenshot {path}"):
            path.write_bytes(self._screen())
        self._report.picture(self.name, name, path.read_bytes())

    def get_screen_text(self) -> str:
        """Return what tesseract reads on the screen."""
        return read_text(self._screen())

    def wait_for_text(self, regex: str, timeout: int = TIMEOUT) -> None:
        """Wait until tesseract reads something on the screen that matches."""
        with self.nested(f"waiting for {regex} to appear on screen"):
            retry(lambda _: re.search(regex, self.get_screen_text()) is not None, timeout)

    def get_tty_text(self, tty: str) -> str:
        """Return what a virtual console shows."""
        return self.execute(f"fold -w$(stty -F /dev/tty{tty} size | cut -d' ' -f2) /dev/vcs{tty}")[1]

    def wait_until_tty_matches(self, tty: str, regexp: str, timeout: int = TIMEOUT) -> None:
        """Wait until a virtual console shows something that matches."""
        with self.nested(f"waiting for {regexp} to appear on tty {tty}"):
            retry(lambda _: re.search(regexp, self.get_tty_text(tty)) is not None, timeout)

    # Network

    def block(self) -> None:
        """Pull the network cables."""
        self._set_links("off")

    def unblock(self) -> None:
        """Plug the network cables in again."""
        self._set_links("on")

    def forward_port(self, host_port: int = 8080, guest_port: int = 80) -> None:
        """Make a TCP port of the machine reachable on the host's loopback."""
        qmp = self._qemu_or_fail().qmp
        qmp.monitor(f"netdev_add user,id=forward{host_port},hostfwd=tcp:127.0.0.1:{host_port}-:{guest_port}")
        qmp.monitor(f"device_add virtio-net-pci,netdev=forward{host_port},romfile=")

    # People

    def shell_interact(self, address: str | None = None) -> None:
        """Let a person type commands, until an empty line."""
        del address
        self.connect()
        while command := input(f"{self.name}# "):
            status, text = self.execute(command)
            print(text, end="" if text.endswith("\n") else "\n")
            if status:
                print(f"[exit code {status}]")

    def log(self, msg: str) -> None:
        """Write a line into the log."""
        self._report.log(msg, self.name)

    @contextmanager
    def nested(self, msg: str, attrs: dict[str, str] | None = None) -> Iterator[None]:
        """Everything that is logged in this context belongs under `msg`."""
        del attrs
        with self._report.nested(msg, self.name):
            yield

    def sleep(self, secs: int) -> None:
        """Sleep in the machine's time."""
        self.succeed(f"sleep {secs}")

    def wait_until(self, command: str, timeout: float, *, succeeds: bool) -> str:
        """Repeat a command inside the machine until it succeeds, or fails, and return what it wrote then."""
        with self.nested(f"waiting for {'success' if succeeds else 'failure'}: {command}"):
            self.connect()
            status, text = self._agent_or_fail().wait_until(command, timeout, succeeds=succeeds)
            if status:
                done = "succeed" if succeeds else "fail"
                message = f"command `{command}` did not {done} within {timeout} seconds"
                raise MachineError(self.name, message, self.console_tail())
            return text

    def _set_links(self, state: str) -> None:
        for vlan in self.hardware.vlans:
            self._qemu_or_fail().qmp.monitor(f"set_link vlan{vlan} {state}")

    def _put(self, content: bytes, target: str) -> None:
        if self._agent_or_fail().put(content, target):
            raise MachineError(self.name, f"file '{target}' can't be written")

    def _screen(self) -> bytes:
        qemu = self._qemu_or_fail()
        path = qemu.folder / "screen.png"
        qemu.qmp.command("screendump", filename=str(path), format="png")
        return path.read_bytes()

    def _qemu_or_fail(self) -> Qemu:
        if self._qemu is None:
            self.start()
        assert self._qemu is not None
        return self._qemu

    def _agent_or_fail(self) -> Agent:
        if self._agent is None:
            raise MachineError(self.name, "is not running")
        return self._agent


def _connects(addr: str, port: int) -> str:
    """The shell command that succeeds if something listens; not every busybox has `nc -z`."""
    target = f"{shlex.quote(addr)} {port}"
    return f"nc -z {target} 2>/dev/null || nc -w 1 {target} </dev/null >/dev/null 2>&1"
