"""Services of a machine: what test scripts ask systemctl, or a program of that name, inside it."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod

from vmdriver.errors import MachineError, RequestedAssertionFailed

TIMEOUT = 900  # seconds, as in the NixOS driver


class Units(ABC):
    """The methods of a machine that are about units. The machine itself offers what they stand on."""

    name: str

    @abstractmethod
    def execute(
        self, command: str, check_return: bool = True, check_output: bool = True, timeout: int | None = TIMEOUT
    ) -> tuple[int, str]:
        """Run a shell command in the machine."""

    @abstractmethod
    def wait_until(self, command: str, timeout: float, *, succeeds: bool) -> str:
        """Repeat a shell command in the machine until it succeeds, or fails, and return what it wrote then."""

    @abstractmethod
    def console_tail(self) -> list[str]:
        """Return the last lines of the console, for messages."""

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: int = TIMEOUT) -> None:
        """Wait until a unit is active; fails at once when it has failed, or is inactive and nothing will start it."""
        ask = f"{_systemctl(user)} show --property=ActiveState --value {shlex.quote(unit)}"
        reached = f'state=$({ask}); echo "$state"; case $state in active|failed) true;; *) false;; esac'
        state = self.wait_until(reached, timeout, succeeds=True).split()
        if state != ["active"]:
            raise MachineError(self.name, f'unit "{unit}" reached state "{" ".join(state)}"', self.console_tail())

    def systemctl(self, q: str, user: str | None = None) -> tuple[int, str]:
        """Run `systemctl` with the arguments `q`."""
        return self.execute(f"{_systemctl(user)} {q}")

    def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        """Return the properties of a unit."""
        status, text = self.systemctl(f"--no-pager show {shlex.quote(unit)}", user)
        if status:
            raise RequestedAssertionFailed(f"{self.name}: unit '{unit}' can't be asked (exit code {status})")
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def get_unit_property(self, unit: str, prop: str, user: str | None = None) -> str:
        """Return one property of a unit."""
        return self.get_unit_info(unit, user).get(prop, "")

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """Fail unless a unit is in this state."""
        state = self.get_unit_property(unit, "ActiveState")
        if state != require_state:
            raise MachineError(self.name, f"expected unit '{unit}' to be '{require_state}' but it is '{state}'")

    def start_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Start a unit."""
        return self.systemctl(f"start {jobname}", user)

    def stop_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Stop a unit."""
        return self.systemctl(f"stop {jobname}", user)

    def wait_for_job(self, jobname: str) -> None:
        """Wait until a unit is active."""
        self.wait_for_unit(jobname)


def _systemctl(user: str | None) -> str:
    if user is None:
        return "systemctl"
    return f"su -l {shlex.quote(user)} -c 'XDG_RUNTIME_DIR=/run/user/`id -u` systemctl --user \"$@\"' --"
