"""A process in which no thread can be made, as at a limit of the system."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOO_LARGE = 1 << 47  # bytes of a stack: more than a process has addresses


@contextmanager
def no_new_threads() -> Iterator[None]:
    """Whatever begins a thread meanwhile gets RuntimeError."""
    before = threading.stack_size(_TOO_LARGE)
    try:
        yield
    finally:
        threading.stack_size(before)
