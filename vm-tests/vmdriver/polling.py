"""Conditions that have to hold while a test runs: NixOS's `polling_condition`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vmdriver.commands import TIMEOUT, retry
from vmdriver.errors import RequestedAssertionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmdriver.report import Report


class PollingCondition:
    """A function that has to stay true: not False, and no exception. As a context, it is checked while in it.

    Args:
        function: looked at again when `seconds_interval` have passed, before the next command of any machine.
        report: where its checks are logged.
        active: the conditions that are in force; this one adds and removes itself.
        seconds_interval: between two looks.
        description: for messages; the function's own text by default.
    """

    def __init__(
        self,
        function: Callable[[], bool | None],
        report: Report,
        active: list[PollingCondition],
        seconds_interval: float = 2.0,
        description: str | None = None,
    ) -> None:
        self.description = description or (function.__doc__ or "").strip() or function.__name__
        self._function = function
        self._report = report
        self._active = active
        self._interval = seconds_interval
        self._last = float("-inf")
        self._checking = False

    def __enter__(self) -> None:
        self._active.append(self)

    def __exit__(self, *_: object) -> None:
        self._active.remove(self)

    def check(self, force: bool = False) -> bool:
        """Return whether it holds; True without looking if the last look was not long ago, or is under way."""
        if self._checking or not (force or time.monotonic() >= self._last + self._interval):
            return True
        self._checking = True  # its own commands ask for conditions, too
        try:
            with self._report.nested(f"polling condition: {self.description}"):
                return self._function() is not False
        except Exception as error:  # whatever a script raises means that the condition does not hold
            self._report.log(f"{type(error).__name__}: {error}")
            return False
        finally:
            self._checking = False
            self._last = time.monotonic()

    def maybe_raise(self) -> None:
        """Raise RequestedAssertionFailed if it does not hold."""
        if not self.check():
            raise RequestedAssertionFailed(f"polling condition failed: {self.description}")

    def wait(self, timeout: float = TIMEOUT) -> None:
        """Wait until it holds."""
        with self._report.nested(f"waiting for {self.description}"):
            retry(lambda _: self.check(force=True), timeout)
