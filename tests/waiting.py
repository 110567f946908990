"""Waiting for what somebody else does: other threads, other processes, the kernel."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST = 60.0  # seconds: on a machine that is busy with other things, too; only a test that fails waits for as long


def wait_until(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds; fails the test when it never does."""
    end = time.monotonic() + _LONGEST
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        threading.Event().wait(0.002)
