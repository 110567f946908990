"""Services of a machine: what test scripts ask systemctl, or a program of that name, inside it."""

from __future__ import annotations

import shlex

from vmdriver.commands import TIMEOUT, Commands
from vmdriver.errors import RequestedAssertionFailed


class Units(Commands):
    """The methods of a machine that are about units."""

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: int = TIMEOUT) -> None:
        """Wait until a unit is active; fails at once when it has failed, or is inactive and no job will start it."""
        name = shlex.quote(unit)
        show = _systemctl(f"--no-pager show {name} --property=ActiveState", user)
        jobs = _systemctl("list-jobs --full 2>&1", user)
        # a unit may become active between the two questions: it is asked for once more before it is given up
        reached = (
            f"state=$({show}); case $state in "
            f"*=inactive) case $({jobs}) in *'No jobs'*) state=$({show}) ;; *) false ;; esac ;; esac; "
            'echo "$state"; case $state in *=active|*=failed|*=inactive) true ;; *) false ;; esac'
        )
        whose = f"unit {unit}" + (f" with user {user}" if user else "")
        state = self.wait_until(reached, timeout, succeeds=True, what=whose).strip().rpartition("=")[2]
        if state == "active":
            return
        said = self.execute(_systemctl(f"--no-pager status {name} 2>&1 | tail -n 15", user))[1].splitlines()
        if state == "inactive":
            raise RequestedAssertionFailed(
                f'{self.name}: unit "{unit}" is inactive and there are no pending jobs', said
            )
        raise RequestedAssertionFailed(f'{self.name}: unit "{unit}" reached state "{state}"', said)

    def systemctl(self, q: str, user: str | None = None) -> tuple[int, str]:
        """Run `systemctl` with the arguments `q`, with `--user` for a user."""
        return self.execute(_systemctl(q, user))

    def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        """Return the properties of a unit."""
        status, text = self.systemctl(f"--no-pager show {shlex.quote(unit)}", user)
        return self._properties(f'systemctl info for unit "{unit}"', status, text)

    def get_unit_property(self, unit: str, property: str, user: str | None = None) -> str:
        """Return one property of a unit."""
        question = f"--no-pager show {shlex.quote(unit)} --property={shlex.quote(property)}"
        status, text = self.systemctl(question, user)
        found = self._properties(f'systemctl property "{property}" for unit "{unit}"', status, text)
        if property not in found:
            raise RequestedAssertionFailed(f"{self.name}: `systemctl {question}` says nothing of it: {text.strip()!r}")
        return found[property]

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """Fail unless a unit is in this state."""
        with self.nested(f"checking if unit '{unit}' has reached state '{require_state}'"):
            state = self.get_unit_property(unit, "ActiveState")
            if state != require_state:
                raise RequestedAssertionFailed(
                    f"{self.name}: expected unit '{unit}' to be in state '{require_state}' but it is in state '{state}'"
                )

    def start_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Start a unit."""
        return self.systemctl(f"start {jobname}", user)

    def stop_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Stop a unit."""
        return self.systemctl(f"stop {jobname}", user)

    def wait_for_job(self, jobname: str) -> None:
        """Wait until a unit is active."""
        self.wait_for_unit(jobname)

    def _properties(self, what: str, status: int, text: str) -> dict[str, str]:
        if status:
            raise RequestedAssertionFailed(f"{self.name}: retrieving {what} failed with exit code {status}")
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _systemctl(arguments: str, user: str | None) -> str:
    if user is None:
        return f"systemctl {arguments}"
    command = f"XDG_RUNTIME_DIR=/run/user/`id -u` systemctl --user {arguments}"
    return f"su -l {shlex.quote(user)} -s /bin/sh -c {shlex.quote(command)}"
